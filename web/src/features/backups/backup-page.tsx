"use client";

import { useQuery } from "@tanstack/react-query";
import Link from "next/link";
import { useRouter } from "next/navigation";
import { useState } from "react";
import {
  HiOutlineBan,
  HiOutlineFolderOpen,
  HiOutlineLockClosed,
  HiOutlineLockOpen,
  HiOutlineRefresh,
  HiOutlineReply,
  HiOutlineTrash,
  HiOutlineXCircle,
} from "react-icons/hi";
import { failureOf } from "@/api-client";
import { isFinal, useProgress } from "@/features/live/progress";
import { RestoreWizard } from "@/features/restores/restore-wizard";
import { runQuery } from "@/features/runs/queries";
import { RunLog } from "@/features/runs/run-log";
import { RunFailure, RunPanel, useLiveRunInfo } from "@/features/runs/run-panel";
import { RunBadge } from "@/features/runs/run-state";
import { useDenied } from "@/features/session/session";
import { Badge, Tag } from "@/ui/badge";
import { Button } from "@/ui/button";
import { Card } from "@/ui/card";
import { words } from "@/ui/format";
import { Menu } from "@/ui/menu";
import { Facts, Page, PageHeader } from "@/ui/page";
import { Progress } from "@/ui/progress";
import { ErrorState, Notice, SkeletonLines } from "@/ui/states";
import { DataTable } from "@/ui/table";
import { Tabs } from "@/ui/tabs";
import { usePathId, useUrlState } from "@/ui/url-state";
import { Ago, Bytes, Duration, Missing, Moment, Truncated } from "@/ui/values";
import {
  DeleteBackupModal,
  HoldBackupModal,
  useCancelBackup,
  useReleaseBackup,
  useRetryBackup,
} from "./backup-actions";
import { MODES } from "./backup-plan";
import { ChainView } from "./chain-view";
import { type BackupJob, backupQuery } from "./queries";

const CRUMB = { label: "Backups", href: "/backups" };

export function BackupPage() {
  const id = usePathId();
  const job = useQuery({
    ...backupQuery(id ?? ""),
    enabled: Boolean(id),
    // Events tell of all changes; this catches a restore point that came on record after its run.
    refetchInterval: ({ state }) =>
      state.data && isFinal(state.data.status) && (state.data.point_id || !unfinished(state.data))
        ? false
        : 5000,
  });
  if (job.error && !job.data) {
    return (
      <Page>
        <PageHeader title="Backup" crumbs={[CRUMB, { label: "…" }]} />
        <Card>
          <ErrorState failure={failureOf(job.error)} onRetry={() => job.refetch()} />
        </Card>
      </Page>
    );
  }
  if (!job.data) {
    return (
      <Page>
        <PageHeader title="…" crumbs={[CRUMB, { label: "…" }]} />
        <Card>
          <SkeletonLines lines={8} label="Loading the backup" />
        </Card>
      </Page>
    );
  }
  return <Loaded job={job.data} />;
}

function unfinished(job: BackupJob): boolean {
  return job.status === "completed" && !job.point_id;
}

function Loaded({ job }: { job: BackupJob }) {
  const { get, set } = useUrlState();
  const tab = get("tab") || "overview";
  const state = useProgress(job.id)?.status ?? job.status;
  return (
    <Page>
      <Head job={job} state={isFinal(job.status) ? job.status : state} />
      <Notices job={job} />
      <div>
        <Tabs
          label="About this backup"
          current={tab}
          onChange={(key) => set({ tab: key === "overview" ? null : key, disk: null })}
          items={[
            { key: "overview", title: "Overview" },
            { key: "chain", title: "Chain" },
            { key: "log", title: "Log" },
          ]}
        >
          {tab === "overview" && <Overview job={job} />}
          {tab === "chain" &&
            (job.vm_id && job.repository_id ? (
              <ChainView vmId={job.vm_id} repositoryId={job.repository_id} currentId={job.id} />
            ) : (
              <Card>
                <p className="text-sm text-ink-3">
                  Its VM or its repository is not known any more.
                </p>
              </Card>
            ))}
          {tab === "log" && <RunLog runId={job.id} active={!isFinal(job.status)} />}
        </Tabs>
      </div>
      {get("restore") && job.can_browse && (
        <RestoreWizard job={job} onClose={() => set({ restore: null, restore_disk: null })} />
      )}
    </Page>
  );
}

function Head({ job, state }: { job: BackupJob; state: BackupJob["status"] }) {
  const { set } = useUrlState();
  const router = useRouter();
  const mayBackUp = useDenied("backup.run");
  const mayBrowse = useDenied("files.read");
  const mayRestore = useDenied("restore.run");
  const mayDelete = useDenied("backup.delete");
  const retry = useRetryBackup();
  const cancel = useCancelBackup();
  const release = useReleaseBackup();
  const [asking, setAsking] = useState<"delete" | "hold" | null>(null);
  const noPoint = job.can_browse
    ? null
    : isFinal(job.status)
      ? "it made no restore point"
      : "it has not completed yet";
  return (
    <>
      <PageHeader
        title={job.vm_name}
        crumbs={[CRUMB, { label: job.vm_name }]}
        badge={<RunBadge state={state} />}
        description={
          <>
            {words(job.backup_type)} backup{" "}
            {job.repository_name && <>into {job.repository_name} </>}
            <Ago time={job.started_at ?? job.created_at} />
          </>
        }
        actions={
          <>
            {(job.can_cancel || !isFinal(job.status)) && (
              <Button
                icon={HiOutlineXCircle}
                onClick={() => cancel.mutate(job.id)}
                busy={cancel.isPending}
                disabledReason={mayBackUp ?? (job.can_cancel ? null : "it is being cancelled")}
              >
                Cancel
              </Button>
            )}
            {job.can_retry && (
              <Button
                icon={HiOutlineRefresh}
                variant="primary"
                onClick={() => retry.mutate(job.id)}
                busy={retry.isPending}
                disabledReason={mayBackUp}
              >
                Retry
              </Button>
            )}
            {(job.status === "completed" || !isFinal(job.status)) && (
              <>
                <Button
                  icon={HiOutlineFolderOpen}
                  variant={job.can_browse ? "primary" : "secondary"}
                  href={`/backups/restore?backup=${encodeURIComponent(job.id)}`}
                  disabledReason={mayBrowse ?? noPoint}
                >
                  Browse Files
                </Button>
                <Button
                  icon={HiOutlineReply}
                  onClick={() => set({ restore: "vm" }, "push")}
                  disabledReason={mayRestore ?? noPoint}
                >
                  Restore
                </Button>
              </>
            )}
            <Menu
              label={`More about this backup of ${job.vm_name}`}
              items={[
                job.held
                  ? {
                      label: "Release hold",
                      icon: HiOutlineLockOpen,
                      onSelect: () => release.mutate(job.id),
                      disabledReason: mayDelete,
                    }
                  : {
                      label: "Hold…",
                      icon: HiOutlineLockClosed,
                      onSelect: () => setAsking("hold"),
                      disabledReason: mayDelete ?? noPoint,
                    },
                {
                  label: job.point_id ? "Delete restore point…" : "Take off the list…",
                  icon: job.point_id ? HiOutlineTrash : HiOutlineBan,
                  danger: true,
                  onSelect: () => setAsking("delete"),
                  disabledReason:
                    mayDelete ?? (job.can_delete ? null : job.cannot_delete_reason || "not now"),
                },
              ]}
            />
          </>
        }
      />
      {asking === "delete" && (
        <DeleteBackupModal
          job={job}
          onClose={() => setAsking(null)}
          onDeleted={() => router.push("/backups")}
        />
      )}
      {asking === "hold" && <HoldBackupModal job={job} onClose={() => setAsking(null)} />}
    </>
  );
}

function Notices({ job }: { job: BackupJob }) {
  return (
    <>
      <RunFailure
        run={{
          state: job.status,
          attempt: job.attempt,
          error_code: job.error_code ?? null,
          error_message: job.error_message ?? null,
          error_hint: job.error_hint ?? null,
          not_before: job.not_before ?? null,
        }}
      />
      {job.suspect && (
        <Notice tone="bad" title="This restore point is in doubt">
          {job.suspect}
        </Notice>
      )}
      {job.held && (
        <Notice tone="info" icon={HiOutlineLockClosed} title="Held: it is not deleted">
          {job.held}
        </Notice>
      )}
    </>
  );
}

function Overview({ job }: { job: BackupJob }) {
  const run = useQuery({
    ...runQuery(job.id),
    refetchInterval: isFinal(job.status) ? false : 10_000,
  });
  return (
    <div className="flex flex-col gap-4">
      {job.imported ? (
        <Notice tone="info">
          This restore point was found in the repository. How its backup went is not on record here.
        </Notice>
      ) : run.data ? (
        <RunPanel run={run.data} />
      ) : run.error ? (
        <Card>
          <ErrorState compact failure={failureOf(run.error)} onRetry={() => run.refetch()} />
        </Card>
      ) : (
        <Card title="Progress">
          <SkeletonLines lines={4} label="Loading the progress" />
        </Card>
      )}
      {run.data ? <LiveDisks job={job} run={run.data} /> : <Disks job={job} disks={job.disks} />}
      <AboutPoint job={job} />
    </div>
  );
}

function LiveDisks({ job, run }: { job: BackupJob; run: Parameters<typeof useLiveRunInfo>[0] }) {
  return <Disks job={job} disks={useLiveRunInfo(run).disks} />;
}

/** What is read of each disk, and why: known before bytes move. */
function Disks({ job, disks }: { job: BackupJob; disks: BackupJob["disks"] }) {
  const keys = [...new Set([...job.plan.map((one) => one.key), ...disks.map((one) => one.key)])];
  const rows = keys.map((key) => ({
    key,
    plan: job.plan.find((one) => one.key === key),
    progress: disks.find((one) => one.key === key),
  }));
  return (
    <Card flush title="Disks" description="What is read of each, and why">
      <DataTable
        what="disks"
        tall
        rows={rows}
        rowKey={(row) => row.key}
        empty={{
          title: "Not planned yet",
          text: "The plan is made when the backup begins: what is read of each disk, and why.",
        }}
        columns={[
          {
            key: "key",
            title: "Disk",
            width: "w-24 @2xl:w-36",
            cell: (row) => <Truncated className="font-mono text-xs">{row.key}</Truncated>,
          },
          {
            key: "mode",
            title: "Plan",
            cell: (row) =>
              row.plan ? (
                <div className="min-w-0" title={row.plan.reason}>
                  <div className="font-medium">{MODES[row.plan.mode]}</div>
                  <div className="truncate text-xs text-ink-3">{row.plan.reason}</div>
                </div>
              ) : (
                <Missing />
              ),
          },
          {
            key: "progress",
            title: "Progress",
            width: "w-36",
            from: "md",
            cell: (row) =>
              row.progress ? (
                <Progress
                  label={`Disk ${row.key}`}
                  number
                  tone={
                    row.progress.state === "failed"
                      ? "bad"
                      : row.progress.state === "completed"
                        ? "ok"
                        : "run"
                  }
                  value={
                    row.progress.state === "completed"
                      ? 100
                      : row.progress.total_bytes > 0
                        ? (100 * row.progress.done_bytes) / row.progress.total_bytes
                        : 0
                  }
                />
              ) : (
                <Missing />
              ),
          },
          {
            key: "planned",
            title: "To read",
            width: "w-24",
            align: "right",
            from: "lg",
            cell: (row) => <Bytes value={row.plan?.planned_bytes} />,
          },
          {
            key: "read",
            title: "Read",
            width: "w-24",
            align: "right",
            from: "sm",
            cell: (row) => <Bytes value={row.progress?.read_bytes} />,
          },
          {
            key: "stored",
            title: "Stored",
            width: "w-24",
            align: "right",
            cell: (row) => <Bytes value={row.progress?.stored_bytes} />,
          },
          {
            key: "size",
            title: "Size",
            width: "w-24",
            align: "right",
            from: "md",
            cell: (row) => <Bytes value={row.plan?.size_bytes ?? row.progress?.size_bytes} />,
          },
        ]}
      />
    </Card>
  );
}

function AboutPoint({ job }: { job: BackupJob }) {
  const took =
    job.started_at && job.completed_at
      ? (Date.parse(job.completed_at) - Date.parse(job.started_at)) / 1000
      : null;
  return (
    <div className="grid gap-4 lg:grid-cols-2">
      <Card title="Backup">
        <Facts
          items={[
            [
              "VM",
              job.vm_id ? (
                <Link
                  key="vm"
                  href={`/virtual-machines/${encodeURIComponent(job.vm_id)}?vm=${encodeURIComponent(job.vm_id)}`}
                  className="rounded text-accent hover:underline"
                >
                  {job.vm_name}
                </Link>
              ) : (
                job.vm_name
              ),
            ],
            ["Type", words(job.backup_type)],
            [
              "Begun with",
              job.parent_id ? (
                <span key="parent">
                  what changed since point{" "}
                  <span className="font-mono text-xs">{job.parent_id.slice(-12)}</span>
                </span>
              ) : (
                "nothing before it"
              ),
            ],
            ["Asked for", <Moment key="c" time={job.created_at} />],
            ["Began", <Moment key="s" time={job.started_at} never="Not yet" />],
            ["Ended", <Moment key="e" time={job.completed_at} never="Not yet" />],
            ["Took", <Duration key="t" seconds={took} />],
            ["Started by", job.created_by || "–"],
            job.attempt > 1 ? ["Attempts", job.attempt] : null,
          ]}
        />
      </Card>
      <Card title="Restore point">
        {job.point_id ? (
          <Facts
            items={[
              ["Repository", job.repository_name || "–"],
              [
                "Where",
                <Truncated key="w" className="font-mono text-xs leading-5">
                  {job.file_path}
                </Truncated>,
              ],
              [
                "Consistency",
                job.consistency ? (
                  <Consistency key="k" value={job.consistency} />
                ) : (
                  <Missing key="k" />
                ),
              ],
              ["Size of its disks", <Bytes key="z" value={job.size_bytes} />],
              ["Stored for it", <Bytes key="b" value={job.stored_bytes} />],
              job.immutable_until
                ? ["Immutable until", <Moment key="i" time={job.immutable_until} />]
                : null,
              job.tags.length > 0
                ? [
                    "Tags",
                    <span key="g" className="flex flex-wrap gap-1">
                      {job.tags.map((tag) => (
                        <Tag key={tag}>{tag}</Tag>
                      ))}
                    </span>,
                  ]
                : null,
              job.notes.length > 0
                ? [
                    "Notes",
                    <ul key="n" className="flex flex-col gap-1">
                      {job.notes.map((note) => (
                        <li key={note}>{note}</li>
                      ))}
                    </ul>,
                  ]
                : null,
            ]}
          />
        ) : (
          <p className="text-sm text-ink-3">
            {isFinal(job.status)
              ? "This backup made no restore point."
              : "The restore point appears when all disks are durable in the repository."}
          </p>
        )}
      </Card>
    </div>
  );
}

const CONSISTENCY: Record<string, [string, "ok" | "idle"]> = {
  filesystem: ["The guest's file systems were frozen for the instant", "ok"],
  application: ["The guest's applications were at rest for the instant", "ok"],
  crash: ["As after a power cut: all disks at one instant, nothing frozen", "idle"],
  offline: ["The VM was shut off", "ok"],
};

function Consistency({ value }: { value: string }) {
  const [title, tone] = CONSISTENCY[value] ?? ["", "idle"];
  return (
    <Badge tone={tone} title={title}>
      {words(value)}
    </Badge>
  );
}
