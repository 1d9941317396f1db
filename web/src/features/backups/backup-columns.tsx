"use client";

import Link from "next/link";
import { useRouter } from "next/navigation";
import { useMemo } from "react";
import {
  HiOutlineFolderOpen,
  HiOutlineRefresh,
  HiOutlineReply,
  HiOutlineXCircle,
} from "react-icons/hi";
import { RunBadge, type RunBrief, RunProgressLine } from "@/features/runs/run-state";
import { useRunActions } from "@/features/runs/runs-table";
import { useDenied } from "@/features/session/session";
import { RowAction } from "@/ui/button";
import { sentence, words } from "@/ui/format";
import type { Column } from "@/ui/table";
import { Ago, Bytes, Missing } from "@/ui/values";
import { PointBadges } from "./point-badges";
import type { BackupJob } from "./queries";

/** A backup as a run, for what shows progress of any run. */
export function runOf(job: BackupJob): RunBrief {
  return { ...job, kind: "backup", state: job.status } as unknown as RunBrief;
}

/** The same from one drawing to the next, so that rows which did not change are left alone. */
export function useBackupColumns(): Column<BackupJob>[] {
  const router = useRouter();
  const mayBackUp = useDenied("backup.run");
  const mayBrowse = useDenied("files.read");
  const mayRestore = useDenied("restore.run");
  const actions = useRunActions();
  const cancel = actions.cancel.mutate;
  const retry = actions.retry.mutate;
  return useMemo(
    (): Column<BackupJob>[] => [
      {
        key: "vm",
        title: "VM Name",
        sort: "vm_name",
        cell: (job) => (
          <>
            <Link
              href={`/backups/${encodeURIComponent(job.id)}${job.vm_id ? `?vm=${encodeURIComponent(job.vm_id)}` : ""}`}
              prefetch={false}
              className="block truncate rounded font-medium hover:underline"
              title={job.vm_name}
            >
              {job.vm_name}
            </Link>
            <span className="block truncate text-xs text-ink-3 @2xl:hidden">
              <Ago time={job.started_at ?? job.created_at} />
            </span>
          </>
        ),
      },
      {
        key: "type",
        title: "Backup Type",
        width: "w-28",
        from: "md",
        cell: (job) => words(job.backup_type),
      },
      {
        key: "repository",
        title: "Repository",
        width: "w-36",
        from: "lg",
        cell: (job) => job.repository_name || "–",
      },
      {
        key: "status",
        title: "Status",
        width: "w-28",
        cell: (job) => (
          <>
            <RunBadge state={job.status} title={job.error_message ?? undefined} />
            <span className="block text-xs text-ink-3 @2xl:hidden">{words(job.backup_type)}</span>
          </>
        ),
      },
      {
        key: "progress",
        title: "Progress",
        width: "w-44",
        from: "sm",
        cell: (job) => <Progressed job={job} />,
      },
      {
        key: "started",
        title: "Started",
        sort: "created_at",
        width: "w-28",
        from: "md",
        cell: (job) => <Ago time={job.started_at ?? job.created_at} />,
      },
      {
        key: "actions",
        title: "Actions",
        width: "w-24 @4xl:w-48",
        align: "right",
        cell: (job) => (
          <span className="inline-flex gap-0.5">
            {job.can_cancel && (
              <RowAction
                icon={HiOutlineXCircle}
                label="Cancel"
                of={job.vm_name}
                onClick={() => cancel(job.id)}
                disabledReason={mayBackUp}
              />
            )}
            {job.can_retry && (
              <RowAction
                icon={HiOutlineRefresh}
                label="Retry"
                of={job.vm_name}
                onClick={() => retry(job.id)}
                disabledReason={mayBackUp}
              />
            )}
            {job.can_browse && (
              <RowAction
                icon={HiOutlineFolderOpen}
                label="Files"
                of={job.vm_name}
                onClick={() => router.push(`/backups/restore?backup=${encodeURIComponent(job.id)}`)}
                disabledReason={mayBrowse}
              />
            )}
            {job.can_browse && (
              <RowAction
                icon={HiOutlineReply}
                label="Restore"
                of={job.vm_name}
                onClick={() => router.push(`/backups/${encodeURIComponent(job.id)}?restore=vm`)}
                disabledReason={mayRestore}
              />
            )}
          </span>
        ),
      },
    ],
    [router, mayBackUp, mayBrowse, mayRestore, cancel, retry],
  );
}

function Progressed({ job }: { job: BackupJob }) {
  if (job.status === "running" || job.status === "pending")
    return <RunProgressLine run={runOf(job)} />;
  if (job.status === "failed")
    return (
      <span className="block truncate text-ink-3" title={job.error_message ?? undefined}>
        {sentence(job.error_message ?? "")}
      </span>
    );
  if (job.status !== "completed") return <Missing title="It was cancelled" />;
  return (
    <span className="flex min-w-0 items-center gap-1.5 text-ink-3">
      {!job.damaged && (
        <span className="truncate">
          <Bytes value={job.stored_bytes} /> stored
        </span>
      )}
      <PointBadges point={job} />
    </span>
  );
}
