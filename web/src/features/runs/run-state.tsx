"use client";

import type { Schemas } from "@/api-client";
import { useLiveRun } from "@/features/live/progress";
import type { Permission } from "@/features/session/session";
import { Badge, type Tone } from "@/ui/badge";
import { duration, rate, sentence, words } from "@/ui/format";
import { Progress } from "@/ui/progress";
import { Bytes, Duration, Rate } from "@/ui/values";

export type RunBrief = Schemas["RunBrief"];

export const RUN_TONES: Record<RunBrief["state"], Tone> = {
  pending: "idle",
  running: "run",
  completed: "ok",
  failed: "bad",
  cancelled: "idle",
};

const RUN_WORDS: Record<RunBrief["state"], string> = {
  pending: "Waiting",
  running: "Running",
  completed: "Completed",
  failed: "Failed",
  cancelled: "Cancelled",
};

const KIND_WORDS: Record<RunBrief["kind"], string> = {
  backup: "Backup",
  restore_vm: "VM restore",
  restore_disk: "Disk restore",
  check: "Check",
  verify: "Verify",
  prune: "Prune",
  compact: "Compact",
  copy: "Copy",
  lock: "Renewal of locks",
  repair: "Repair",
  delete_point: "Delete restore point",
  discover: "Discover",
};

export function kindWords(kind: RunBrief["kind"]): string {
  return KIND_WORDS[kind] ?? words(kind);
}

const NEEDS: Partial<Record<RunBrief["kind"], Permission>> = {
  backup: "backup.run",
  restore_vm: "restore.run",
  restore_disk: "restore.run",
  delete_point: "backup.delete",
  prune: "backup.delete",
  discover: "inventory.manage",
};

/** What it takes to cancel a run or to try it again, as the service has it. */
export function permissionFor(kind: RunBrief["kind"]): Permission {
  return NEEDS[kind] ?? "repository.maintain";
}

/** `Backup of web-server`; maintenance has no VM. */
export function runName(run: Pick<RunBrief, "kind" | "vm_name">): string {
  return [kindWords(run.kind), run.vm_name].filter(Boolean).join(" of ");
}

const IN_BYTES: ReadonlySet<RunBrief["kind"]> = new Set([
  "backup",
  "restore_vm",
  "restore_disk",
  "verify",
  "copy",
]);

/** Whether its progress counts bytes; that of other kinds counts packs or points, which have no
 * speed. */
export function countsBytes(kind: RunBrief["kind"]): boolean {
  return IN_BYTES.has(kind);
}

export function RunBadge({
  state,
  title,
}: {
  state: RunBrief["state"];
  title?: string | undefined;
}) {
  return (
    <Badge tone={RUN_TONES[state] ?? "idle"} live={state === "running"} title={title}>
      {RUN_WORDS[state] ?? words(state)}
    </Badge>
  );
}

/** Progress in the width of a table column: bar, percent, speed and time left. */
export function RunProgressLine({ run: given }: { run: RunBrief }) {
  const run = useLiveRun(given);
  if (run.state === "pending") return <span className="text-ink-3">Waiting for its turn</span>;
  if (run.state !== "running") return <RunBadge state={run.state} />;
  const speed = run.throughput_bps > 0 && countsBytes(run.kind) ? rate(run.throughput_bps) : "";
  const left =
    run.eta_seconds === null || run.eta_seconds === undefined
      ? ""
      : `${duration(run.eta_seconds)} left`;
  return (
    <div className="min-w-0" title={[sentence(run.phase), speed, left].filter(Boolean).join(" · ")}>
      <Progress value={run.progress_percent} label={runName(run)} number />
      <div className="truncate text-2xs leading-4 tabular-nums text-ink-3">
        {[speed || sentence(run.phase), left].filter(Boolean).join(" · ")}
      </div>
    </div>
  );
}

/** The live run of a VM in full, for panels. */
export function LiveRun({
  run: given,
  transferred,
  total,
}: {
  run: RunBrief;
  transferred?: number;
  total?: number;
}) {
  const run = useLiveRun(given);
  return (
    <div>
      <div className="mb-2 flex items-center justify-between gap-2">
        <span className="truncate font-medium">
          {kindWords(run.kind)}
          {run.phase && <span className="font-normal text-ink-3"> · {sentence(run.phase)}</span>}
        </span>
        <RunBadge state={run.state} />
      </div>
      <Progress
        value={run.state === "pending" ? 0 : run.progress_percent}
        tone={RUN_TONES[run.state]}
        label={runName(run)}
        number
      />
      <div className="mt-2 grid grid-cols-2 gap-2 text-xs text-ink-3">
        {countsBytes(run.kind) && (
          <span>
            Speed{" "}
            <span className="text-ink">
              {run.throughput_bps > 0 ? <Rate value={run.throughput_bps} /> : "–"}
            </span>
          </span>
        )}
        <span>
          Left{" "}
          <span className="text-ink">
            {run.state === "running" ? <Duration seconds={run.eta_seconds} /> : "–"}
          </span>
        </span>
        {total !== undefined && (
          <span className="col-span-2">
            <Bytes value={transferred ?? 0} /> of <Bytes value={total} />
          </span>
        )}
      </div>
    </div>
  );
}
