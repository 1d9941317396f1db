import { expect, test } from "vitest";
import { samplesOf } from "@/features/live/progress";
import { stepsOf } from "./steps";

function states(run: Parameters<typeof stepsOf>[0]): string {
  return stepsOf(run)
    .map((step) => `${step.name}:${step.state}`)
    .join(" ");
}

test("a backup passes its stations", () => {
  expect(states({ kind: "backup", state: "pending", phase: "" })).toBe(
    "Queued:now Taking the instant:todo Reading:todo Committing:todo Completed:todo",
  );
  expect(states({ kind: "backup", state: "running", phase: "reading vda" })).toBe(
    "Queued:done Taking the instant:done Reading vda:now Committing:todo Completed:todo",
  );
  expect(states({ kind: "backup", state: "completed", phase: "completed" })).not.toMatch(
    /now|todo/,
  );
});

test("of a run that failed nothing is claimed but that it did", () => {
  expect(states({ kind: "restore_vm", state: "failed", phase: "failed" })).toBe(
    "Queued:done Failed:failed",
  );
});

test("live speeds follow the service's samples without overlapping them", () => {
  const run = {
    id: "1",
    started_at: "2026-01-01T00:00:00Z",
    samples: [
      [1, 100],
      [2, 200],
    ],
  };
  const at = (seconds: number) => Date.parse("2026-01-01T00:00:00Z") + seconds * 1000;
  expect(
    samplesOf(run, [
      { at: at(1.5), bps: 1 },
      { at: at(2.5), bps: 250 },
    ]),
  ).toEqual([
    [1, 100],
    [2, 200],
    [2.5, 250],
  ]);
});
