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
const newest = new Map<string, ProgressUpdate>();
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
  if (newest.size > KEPT) {
    const oldest = newest.keys().next().value;
    if (oldest !== undefined) newest.delete(oldest);
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

export function useLiveRun<Run extends Live>(run: Run): Run {
  return withProgress(run, useProgress(run.id));
}
