"use client";

import Link from "next/link";
import { isFinal } from "@/features/live/progress";
import { Badge, Tag } from "@/ui/badge";
import { Card } from "@/ui/card";
import { words } from "@/ui/format";
import { Facts } from "@/ui/page";
import { Bytes, Duration, Missing, Moment, Truncated } from "@/ui/values";
import { ImmutableLock } from "./point-badges";
import type { BackupJob } from "./queries";

/** How the backup was made, and the restore point that it left. */
export function PointCards({ job }: { job: BackupJob }) {
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
                ? [
                    "Immutable until",
                    <span key="i" className="inline-flex items-center gap-1.5">
                      <Moment time={job.immutable_until} />
                      <ImmutableLock until={job.immutable_until} />
                    </span>,
                  ]
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
