import { act, renderHook } from "@testing-library/react";
import { describe, expect, it, vi } from "vitest";
import { type ProgressUpdate, takeProgress, useProgress, withProgress } from "./progress";
import { makeInvalidator } from "./socket";

const update = (over: Partial<ProgressUpdate>): ProgressUpdate => ({
  id: "r",
  status: "running",
  phase: "reading",
  progress_percent: 10,
  bytes_transferred: 1,
  total_bytes: 10,
  stored_bytes: 0,
  throughput_bps: 5,
  eta_seconds: 9,
  disks: [],
  bottleneck: null,
  error_message: null,
  error_code: null,
  attempt: 1,
  at: "2026-11-26T10:00:00.000Z",
  ...over,
});

describe("progress", () => {
  it("redraws who watches the run, and never goes back in time", () => {
    const { result } = renderHook(() => useProgress("r1"));
    act(
      () =>
        void takeProgress(
          update({ id: "r1", at: "2026-11-26T10:00:02.000Z", progress_percent: 40 }),
        ),
    );
    expect(result.current?.progress_percent).toBe(40);
    act(
      () =>
        void takeProgress(
          update({ id: "r1", at: "2026-11-26T10:00:01.000Z", progress_percent: 20 }),
        ),
    );
    expect(result.current?.progress_percent).toBe(40);
  });
  it("says when the state changed", () => {
    expect(takeProgress(update({ id: "r2" }))).toBe(true);
    expect(takeProgress(update({ id: "r2", progress_percent: 11 }))).toBe(false);
    expect(takeProgress(update({ id: "r2", status: "completed" }))).toBe(true);
  });
  it("lets a finished run stay finished", () => {
    const run = {
      id: "r",
      state: "completed",
      phase: "",
      progress_percent: 100,
      throughput_bps: 0,
      eta_seconds: null,
    } as const;
    expect(withProgress(run, update({})).state).toBe("completed");
  });
});

it("invalidates each cache once, however many events come", () => {
  vi.useFakeTimers();
  const invalidateQueries = vi.fn();
  const invalidate = makeInvalidator({ invalidateQueries });
  const burst = () => {
    for (let event = 0; event < 100; event += 1) invalidate(["vms", "runs"]);
  };
  burst();
  vi.advanceTimersByTime(50);
  expect(invalidateQueries).toHaveBeenCalledTimes(2);
  burst();
  vi.advanceTimersByTime(499);
  expect(invalidateQueries).toHaveBeenCalledTimes(2);
  vi.advanceTimersByTime(1);
  expect(invalidateQueries).toHaveBeenCalledTimes(4);
  vi.useRealTimers();
});
