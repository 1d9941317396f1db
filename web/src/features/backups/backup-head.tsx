"use client";

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
import { isFinal } from "@/features/live/progress";
import { RunBadge } from "@/features/runs/run-state";
import { useDenied } from "@/features/session/session";
import { Button } from "@/ui/button";
import { words } from "@/ui/format";
import { Menu } from "@/ui/menu";
import { PageHeader } from "@/ui/page";
import { useUrlState } from "@/ui/url-state";
import { Ago } from "@/ui/values";
import {
  DeleteBackupModal,
  HoldBackupModal,
  useCancelBackup,
  useReleaseBackup,
  useRetryBackup,
} from "./backup-actions";
import type { BackupJob } from "./queries";

export const CRUMB = { label: "Backups", href: "/backups" };

/** Whose backup it is, how it stands, and all that can be done with it. */
export function BackupHead({ job, state }: { job: BackupJob; state: BackupJob["status"] }) {
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
      ? job.damaged
        ? "its restore point is damaged"
        : "it made no restore point"
      : "it has not completed yet";
  return (
    <>
      <PageHeader
        title={job.vm_name}
        crumbs={[CRUMB, { label: job.vm_name }]}
        badge={<RunBadge state={state} />}
        description={
          <>
            {words(job.backup_type)} backup{job.repository_name && <> into {job.repository_name}</>}
            , <Ago time={job.started_at ?? job.created_at} />
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
