"use client";

import { useQuery } from "@tanstack/react-query";
import dynamic from "next/dynamic";
import { HiOutlineBadgeCheck, HiOutlineScissors, HiOutlineShieldCheck } from "react-icons/hi";
import { failureOf } from "@/api-client";
import { RunsTable } from "@/features/runs/runs-table";
import { Button } from "@/ui/button";
import { Card } from "@/ui/card";
import { Menu } from "@/ui/menu";
import { Page, PageHeader } from "@/ui/page";
import { EmptyState, ErrorState, Skeleton, SkeletonLines } from "@/ui/states";
import { usePathId } from "@/ui/url-state";
import { KeySlots } from "./key-slots";
import type { Repository } from "./maintenance-modal";
import { placeOf, repositoryQuery, storageHistoryQuery } from "./queries";
import { useRepositoryActions } from "./repository-actions";
import { RepositoryBadges, RepositoryFacts, RepositoryProblems } from "./repository-facts";
import { daysOf } from "./storage-days";

const Loading = () => <Skeleton className="h-56 w-full" />;
const StorageChart = dynamic(() => import("@/ui/chart").then((charts) => charts.StorageChart), {
  ssr: false,
  loading: Loading,
});
const CRUMB = { label: "Repositories", href: "/settings/repositories" };

/** One repository: how it stands, how it grew, what was done with it, and what opens it. */
export function RepositoryPage() {
  const id = usePathId();
  const repository = useQuery({
    ...repositoryQuery(id ?? ""),
    enabled: Boolean(id),
    refetchInterval: 30_000,
  });
  if (repository.data) return <Loaded repository={repository.data} />;
  return (
    <Page>
      <PageHeader
        title={repository.error ? "Repository" : "…"}
        crumbs={[CRUMB, { label: "Repository" }]}
      />
      <Card>
        {repository.error ? (
          <ErrorState failure={failureOf(repository.error)} onRetry={() => repository.refetch()} />
        ) : (
          <SkeletonLines lines={8} label="Loading the repository" />
        )}
      </Card>
    </Page>
  );
}

function Loaded({ repository: it }: { repository: Repository }) {
  const { items, dialog, ask, mayMaintain, mayDelete } = useRepositoryActions(it);
  return (
    <Page>
      <PageHeader
        title={it.name}
        crumbs={[CRUMB, { label: it.name }]}
        badge={<RepositoryBadges repository={it} />}
        description={<span className="font-mono text-xs break-all">{placeOf(it)}</span>}
        actions={
          <>
            <Button
              icon={HiOutlineBadgeCheck}
              onClick={() => ask("check")}
              disabledReason={mayMaintain}
            >
              Check
            </Button>
            <Button
              icon={HiOutlineShieldCheck}
              onClick={() => ask("verify")}
              disabledReason={mayMaintain}
            >
              Verify
            </Button>
            <Button
              icon={HiOutlineScissors}
              onClick={() => ask("prune")}
              disabledReason={mayDelete}
            >
              Prune
            </Button>
            <Menu label={`Actions for ${it.name}`} items={items} />
          </>
        }
      />
      <div className="grid gap-4 xl:grid-cols-2">
        <Card title="State">
          <RepositoryProblems repository={it} />
          <RepositoryFacts repository={it} />
        </Card>
        <Card title="Storage and deduplication">
          <Growth repository={it} />
        </Card>
      </div>
      <KeySlots repository={it} />
      <Card flush title="Runs" description="Backups into it, and its maintenance">
        <RunsTable repositoryId={it.id} />
      </Card>
      {dialog}
    </Page>
  );
}

function Growth({ repository }: { repository: Repository }) {
  const history = useQuery(storageHistoryQuery(repository.id));
  const days = history.data && daysOf(history.data.samples);
  if (history.error && !days)
    return (
      <ErrorState compact failure={failureOf(history.error)} onRetry={() => history.refetch()} />
    );
  if (!days) return <Loading />;
  return days.length > 1 ? (
    <StorageChart days={days} />
  ) : (
    <EmptyState compact title="No trend yet">
      It is drawn from the measurement of each day.
    </EmptyState>
  );
}
