"use client";

import { HiCheck, HiExclamation } from "react-icons/hi";
import { failureOf } from "@/api-client";
import type { BackupJob } from "@/features/backups/queries";
import { exactTime } from "@/ui/format";
import { ErrorState, Notice, SkeletonLines } from "@/ui/states";
import { Bytes } from "@/ui/values";
import type { DiskChoice, VmPreview } from "./restore-wizard";

/** What will happen, before it does; for a VM in the service's own words. */
export function RestoreSummary({
  job,
  what,
  disk,
  preview,
}: {
  job: BackupJob;
  what: "vm" | "disk";
  disk: DiskChoice;
  preview: VmPreview;
}) {
  if (what === "disk")
    return (
      <Lines
        lines={[
          `Read the disk ${disk.disk} of ${job.vm_name}, as it was on ${exactTime(job.created_at)}, out of ${job.repository_name}.`,
          `Write it as ${disk.format} to ${disk.output}.`,
          "Leave the VM and every other disk alone.",
        ]}
      />
    );
  if (preview.error)
    return (
      <ErrorState compact failure={failureOf(preview.error)} onRetry={() => preview.refetch()} />
    );
  if (!preview.data) return <SkeletonLines lines={5} label="Working out what will happen" />;
  const { summary, warnings, conflicts, size_bytes: size, target_folder: folder } = preview.data;
  return (
    <>
      <Lines lines={summary} />
      <p className="text-xs text-ink-3">
        Up to <Bytes value={size} /> are written below <span className="font-mono">{folder}</span>.
      </p>
      {warnings.map((text) => (
        <Notice key={text} tone="warn" icon={HiExclamation}>
          {text}
        </Notice>
      ))}
      {conflicts.map((text) => (
        <Notice key={text} tone="bad" icon={HiExclamation} title="It cannot begin like this">
          {text}
        </Notice>
      ))}
    </>
  );
}

function Lines({ lines }: { lines: string[] }) {
  return (
    <div>
      <p className="mb-2 text-sm font-medium">This will happen</p>
      <ol className="flex flex-col gap-2 text-sm text-ink-2">
        {lines.map((line) => (
          <li key={line} className="flex gap-2">
            <HiCheck className="mt-0.5 size-4 flex-none text-ok" aria-hidden />
            <span className="min-w-0 break-words">{line}</span>
          </li>
        ))}
      </ol>
    </div>
  );
}
