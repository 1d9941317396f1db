"use client";

import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import {
  HiOutlineBadgeCheck,
  HiOutlineLockClosed,
  HiOutlinePencil,
  HiOutlinePlus,
  HiOutlineShieldCheck,
  HiOutlineTrash,
} from "react-icons/hi";
import { api, failureOf, type Schemas, take } from "@/api-client";
import { useDenied } from "@/features/session/session";
import { Badge } from "@/ui/badge";
import { Button } from "@/ui/button";
import { Card } from "@/ui/card";
import { TextField } from "@/ui/field";
import { count, percent, ratio, words } from "@/ui/format";
import { Menu } from "@/ui/menu";
import { ConfirmModal, FormModal } from "@/ui/modal";
import { Progress } from "@/ui/progress";
import { EmptyState, ErrorState, Notice, SkeletonLines } from "@/ui/states";
import { useUrlState } from "@/ui/url-state";
import { Ago, Bytes, Missing, Truncated } from "@/ui/values";
import { SettingsFrame } from "../settings-frame";
import { useSave } from "../use-save";
import { repositoriesQuery } from "./queries";
import { RepositoryWizard } from "./repository-wizard";

type Repository = Schemas["RepositoryInfo"];

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

function RepositoryCard({ repository: it }: { repository: Repository }) {
  const mayManage = useDenied("repository.manage");
  const mayMaintain = useDenied("repository.maintain");
  const [asking, setAsking] = useState<"rename" | "forget" | null>(null);
  const path = { params: { path: { repository_id: it.id } } };
  const check = useSave({
    save: (readData: boolean) =>
      readData
        ? take(api.POST("/api/v1/repositories/{repository_id}/verify", { ...path, body: {} }))
        : take(
            api.POST("/api/v1/repositories/{repository_id}/check", {
              ...path,
              body: { read_data: false },
            }),
          ),
    keys: ["runs", "monitoring", "repositories"],
    done: (accepted) =>
      accepted.existing
        ? "It runs already; follow it under Monitoring"
        : "Queued; follow it under Monitoring",
    sayFailure: "It was not queued",
  });
  const usedPercent =
    it.total_bytes && it.available_bytes !== null
      ? (100 * (it.total_bytes - it.available_bytes)) / it.total_bytes
      : null;
  const offline = it.state === "offline" ? "It is offline" : null;
  return (
    <Card
      title={it.name}
      description={
        <Truncated className="font-mono text-2xs">
          {it.endpoint ? `${it.location} at ${it.endpoint}` : it.location}
        </Truncated>
      }
      actions={
        <>
          {it.immutable && (
            <Badge tone="idle" icon={HiOutlineLockClosed} title={it.immutable_message}>
              Immutable
            </Badge>
          )}
          <Badge
            tone={it.state === "online" ? "ok" : it.state === "offline" ? "bad" : "idle"}
            title={it.state_message}
          >
            {words(it.state)}
          </Badge>
          <Menu
            label={`Actions for ${it.name}`}
            items={[
              {
                label: "Check structure",
                icon: HiOutlineBadgeCheck,
                onSelect: () => check.mutate(false),
                disabledReason: mayMaintain ?? offline,
              },
              {
                label: "Verify all data",
                icon: HiOutlineShieldCheck,
                onSelect: () => check.mutate(true),
                disabledReason: mayMaintain ?? offline,
              },
              null,
              {
                label: "Rename…",
                icon: HiOutlinePencil,
                onSelect: () => setAsking("rename"),
                disabledReason: mayManage,
              },
              {
                label: "Forget…",
                icon: HiOutlineTrash,
                danger: true,
                onSelect: () => setAsking("forget"),
                disabledReason: mayManage,
              },
            ]}
          />
        </>
      }
    >
      {it.state === "offline" && (
        <Notice tone="bad" className="mb-3">
          {it.state_message}
        </Notice>
      )}
      {usedPercent !== null && (
        <div className="mb-4">
          <Progress
            value={usedPercent}
            label={`Space used where ${it.name} is`}
            tone={usedPercent > 90 ? "bad" : usedPercent > 80 ? "warn" : "run"}
            size="lg"
          />
          <p className="mt-1.5 flex justify-between text-xs text-ink-3">
            <span>{percent(usedPercent)} of the volume used</span>
            <span>
              <Bytes value={it.available_bytes} /> free of <Bytes value={it.total_bytes} />
            </span>
          </p>
        </div>
      )}
      <dl className="grid grid-cols-2 gap-x-4 gap-y-3 sm:grid-cols-4">
        {(
          [
            ["Stored", <Bytes key="v" value={it.used_bytes} />],
            ["Of backups", <Bytes key="v" value={it.logical_bytes} />],
            [
              "Deduplication",
              it.dedup_ratio === null ? (
                <Missing key="v" title="Not measured yet" />
              ) : (
                ratio(it.dedup_ratio)
              ),
            ],
            ["Restore points", count(it.backup_count)],
            ["Virtual machines", count(it.vm_count)],
            ["Measured", <Ago key="v" time={it.measured_at} />],
            ["Last check", <Ago key="v" time={it.last_check_at} />],
            [
              "Result",
              it.last_check_result ? (
                words(it.last_check_result)
              ) : (
                <Missing key="v" title="Not checked yet" />
              ),
            ],
          ] as const
        ).map(([name, value]) => (
          <div key={name} className="min-w-0">
            <dt className="text-xs text-ink-3">{name}</dt>
            <dd className="truncate tabular-nums">{value}</dd>
          </div>
        ))}
      </dl>
      {asking === "rename" && <RenameModal repository={it} onClose={() => setAsking(null)} />}
      {asking === "forget" && <ForgetModal repository={it} onClose={() => setAsking(null)} />}
    </Card>
  );
}

function RenameModal({ repository, onClose }: { repository: Repository; onClose: () => void }) {
  const [name, setName] = useState(repository.name);
  const save = useSave({
    save: () =>
      take(
        api.PATCH("/api/v1/repositories/{repository_id}", {
          params: { path: { repository_id: repository.id } },
          body: { name: name.trim() },
        }),
      ),
    keys: ["repositories"],
    done: "The repository was renamed",
    onDone: onClose,
  });
  return (
    <FormModal
      open
      onClose={onClose}
      title="Rename repository"
      submitLabel="Save"
      onSubmit={() => save.mutate(undefined)}
      busy={save.isPending}
      failure={save.error ? failureOf(save.error) : null}
      disabledReason={name.trim() ? null : "Give it a name"}
    >
      <TextField label="Name" value={name} onChange={setName} autoFocus />
    </FormModal>
  );
}

function ForgetModal({ repository, onClose }: { repository: Repository; onClose: () => void }) {
  const forget = useSave({
    save: () =>
      take(
        api.DELETE("/api/v1/repositories/{repository_id}", {
          params: { path: { repository_id: repository.id } },
        }),
      ),
    keys: ["repositories", "backups", "vms", "overview"],
    done: "The repository was forgotten",
    onDone: onClose,
  });
  return (
    <ConfirmModal
      open
      onClose={onClose}
      title="Forget repository"
      confirmLabel="Forget"
      danger
      typed={repository.name}
      busy={forget.isPending}
      failure={forget.error ? failureOf(forget.error) : null}
      onConfirm={() => forget.mutate(undefined)}
    >
      <p>
        Its {count(repository.backup_count)} restore points leave the lists here. Nothing in{" "}
        <span className="font-mono text-xs">{repository.location}</span> is deleted: add it again
        with its passphrase or its recovery kit.
      </p>
    </ConfirmModal>
  );
}
