"use client";

import { isFinal } from "@/features/live/progress";
import type { RunInfo } from "@/features/runs/queries";
import { useLiveRunInfo } from "@/features/runs/run-panel";
import { Card } from "@/ui/card";
import { Progress } from "@/ui/progress";
import { DataTable } from "@/ui/table";
import { Bytes, Missing, Truncated } from "@/ui/values";
import { MODES } from "./backup-plan";
import type { BackupJob } from "./queries";

/** The disks as the events of its run tell of them. */
export function LiveDisksCard({ job, run }: { job: BackupJob; run: RunInfo }) {
  return <DisksCard job={job} disks={useLiveRunInfo(run).disks} />;
}

/** What is read of each disk, and why: known before bytes move. */
export function DisksCard({ job, disks }: { job: BackupJob; disks: BackupJob["disks"] }) {
  const keys = [...new Set([...job.plan.map((one) => one.key), ...disks.map((one) => one.key)])];
  const rows = keys.map((key) => ({
    key,
    plan: job.plan.find((one) => one.key === key),
    progress: disks.find((one) => one.key === key),
  }));
  if (rows.length === 0 && isFinal(job.status)) return null;
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
