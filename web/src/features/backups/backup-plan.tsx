"use client";

import { useQuery } from "@tanstack/react-query";
import { failureOf, type Schemas } from "@/api-client";
import { Badge } from "@/ui/badge";
import { plural, words } from "@/ui/format";
import { Notice, SkeletonLines } from "@/ui/states";
import { Bytes } from "@/ui/values";
import { type BackupWish, previewQuery } from "./queries";

export const MODES: Record<Schemas["DiskPlanInfo"]["mode"], string> = {
  full: "Full",
  changed: "Changed blocks",
  compare: "Compare all",
};

/** What the backup would read, and why, before it is started. */
export function BackupPlan({ wish }: { wish: BackupWish }) {
  const preview = useQuery(previewQuery(wish));
  if (preview.error) {
    const failure = failureOf(preview.error);
    return (
      <Notice tone="warn" title="The plan is not known">
        {failure.detail}
      </Notice>
    );
  }
  if (!preview.data) return <SkeletonLines lines={3} label="Working out the plan" />;
  const { plan, planned_bytes: planned, backup_type: type, consistency, notes } = preview.data;
  return (
    <section aria-label="Plan" className="rounded-md border border-line">
      <div className="flex flex-wrap items-center gap-x-3 gap-y-1 border-b border-line px-3 py-2 text-sm">
        <span className="font-medium">
          {words(type)}, up to <Bytes value={planned} /> to read
        </span>
        {type !== wish.backup_type && <Badge tone="warn">Not {wish.backup_type}</Badge>}
        {consistency && (
          <span className="ml-auto text-xs text-ink-3">{words(consistency)} consistent</span>
        )}
      </div>
      <ul aria-label={plural(plan.length, "disk")} className="scroll-thin max-h-48 overflow-y-auto">
        {plan.map((disk) => (
          <li key={disk.key} className="flex gap-3 px-3 py-1.5 text-sm">
            <span className="w-20 flex-none truncate font-mono text-xs leading-5" title={disk.key}>
              {disk.key}
            </span>
            <span className="min-w-0 flex-1">
              {MODES[disk.mode]}
              <span className="block text-xs text-ink-3">{disk.reason}</span>
            </span>
            <span className="flex-none text-ink-2">
              <Bytes value={disk.planned_bytes} />
            </span>
          </li>
        ))}
      </ul>
      {notes.map((note) => (
        <p key={note} className="border-t border-line px-3 py-1.5 text-xs text-ink-3">
          {note}
        </p>
      ))}
    </section>
  );
}
