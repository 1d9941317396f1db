"use client";

import { useQuery } from "@tanstack/react-query";
import { HiOutlinePlus } from "react-icons/hi";
import { failureOf } from "@/api-client";
import { useDenied } from "@/features/session/session";
import { Button } from "@/ui/button";
import { Card } from "@/ui/card";
import { EmptyState, ErrorState, SkeletonLines } from "@/ui/states";
import { useUrlState } from "@/ui/url-state";
import { SettingsFrame } from "../settings-frame";
import { repositoriesQuery } from "./queries";
import { RepositoryCard } from "./repository-card";
import { RepositoryWizard } from "./repository-wizard";

export function RepositoriesPage() {
  const repositories = useQuery(repositoriesQuery());
  const { get, set } = useUrlState();
  const denied = useDenied("repository.manage");
  const all = repositories.data?.repositories;
  return (
    <SettingsFrame
      title="Repositories"
      description="Where restore points are kept: deduplicated, compressed, encrypted before they leave this host."
      actions={
        <Button
          variant="primary"
          icon={HiOutlinePlus}
          disabledReason={denied}
          onClick={() => set({ add: "1" })}
        >
          Add repository
        </Button>
      }
    >
      {!all ? (
        <Card>
          {repositories.error ? (
            <ErrorState
              failure={failureOf(repositories.error)}
              onRetry={() => repositories.refetch()}
            />
          ) : (
            <SkeletonLines lines={6} label="Loading repositories" />
          )}
        </Card>
      ) : all.length === 0 ? (
        <Card>
          <EmptyState
            title="No repositories yet"
            action={
              <Button variant="primary" disabledReason={denied} onClick={() => set({ add: "1" })}>
                Add repository
              </Button>
            }
          >
            A folder on this host or a bucket in S3. Backups need one.
          </EmptyState>
        </Card>
      ) : (
        <div className="grid gap-4 xl:grid-cols-2">
          {all.map((one) => (
            <RepositoryCard key={one.id} repository={one} />
          ))}
        </div>
      )}
      {get("add") && !denied && <RepositoryWizard onClose={() => set({ add: null })} />}
    </SettingsFrame>
  );
}
