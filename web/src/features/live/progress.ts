"use client";

// The newest progress of every run that an event told of, beside the query cache: an event twice a
// second redraws the rows of its run and nothing else.

import { useSyncExternalStore } from "react";
import type { Schemas } from "@/api-client";

export type RunBrief = Schemas["RunBrief"];
export type RunState = RunBrief["state"];

export interface ProgressUpdate {
  id: string;
  status: RunState;
  phase: string;
  progress_percent: number;
  bytes_transferred: number;
  total_bytes: number;
  stored_bytes: number;
  throughput_bps: number;
  eta_seconds: number | null;
  disks: Schemas["DiskProgress"][];
  bottleneck: Schemas["Bottleneck"] | null;
  error_message: string | null;
  error_code: string | null;
  attempt: number;
  at: string;
}

const KEPT = 2000;
const KEPT_SPEEDS = 600;
const newest = new Map<string, ProgressUpdate>();
const speeds = new Map<string, Array<{ at: number; bps: number }>>();
const listeners = new Map<string, Set<() => void>>();

export function isFinal(state: RunState): boolean {
  return state === "completed" || state === "failed" || state === "cancelled";
}

/** Keeps the update unless a newer one is known. True when the run changed its state. */
export function takeProgress(update: ProgressUpdate): boolean {
  const known = newest.get(update.id);
  if (known && known.at > update.at) return false;
  newest.delete(update.id);
  newest.set(update.id, update);
  if (update.status === "running") {
    const own = speeds.get(update.id) ?? [];
    own.push({ at: Date.parse(update.at), bps: update.throughput_bps });
    speeds.set(update.id, own.slice(-KEPT_SPEEDS));
  }
  if (newest.size > KEPT) {
    const oldest = newest.keys().next().value;
    if (oldest !== undefined) {
      newest.delete(oldest);
      speeds.delete(oldest);
    }
  }
  for (const listener of listeners.get(update.id) ?? []) listener();
  return known?.status !== update.status;
}

export function useProgress(id: string | null | undefined): ProgressUpdate | undefined {
  return useSyncExternalStore(
    (listener) => {
      if (!id) return () => undefined;
      const all = listeners.get(id) ?? new Set();
      listeners.set(id, all.add(listener));
      return () => {
        all.delete(listener);
        if (all.size === 0) listeners.delete(id);
      };
    },
    () => (id ? newest.get(id) : undefined),
    () => undefined,
  );
}

type Live = Pick<
  RunBrief,
  "id" | "state" | "phase" | "progress_percent" | "throughput_bps" | "eta_seconds"
>;

/** A run as the service listed it, brought up to the newest event. */
export function withProgress<Run extends Live>(run: Run, update: ProgressUpdate | undefined): Run {
  if (!update || (isFinal(run.state) && !isFinal(update.status))) return run;
  return {
    ...run,
    state: update.status,
    phase: update.phase,
    progress_percent: update.progress_percent,
    throughput_bps: update.throughput_bps,
    eta_seconds: update.eta_seconds,
  };
}

/** What the service sampled of a run's throughput, and after it what the events told since:
 * seconds since the start, bytes a second. */
export function samplesOf(
  run: { id: string; started_at: string | null; samples: ReadonlyArray<readonly unknown[]> },
  seen: ReadonlyArray<{ at: number; bps: number }> = speeds.get(run.id) ?? [],
): Array<[number, number]> {
  const kept = run.samples.map(
    (sample) => [Number(sample[0]), Number(sample[1])] as [number, number],
  );
  if (!run.started_at) return kept;
  const began = Date.parse(run.started_at);
  const last = kept.at(-1)?.[0] ?? -1;
  const since = seen
    .map(({ at, bps }) => [(at - began) / 1000, bps] as [number, number])
    .filter(([seconds]) => seconds > last);
  return [...kept, ...since];
}

export function useLiveRun<Run extends Live>(run: Run): Run {
  return withProgress(run, useProgress(run.id));
}
