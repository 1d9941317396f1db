import { sentence } from "@/ui/format";
import type { RunInfo } from "./queries";

type StepState = "done" | "now" | "todo" | "failed";

/** The stations of a run. Only the present one is known of a run that works; of one that failed,
 * that it did. */
export function stepsOf(
  run: Pick<RunInfo, "kind" | "state" | "phase">,
): Array<{ name: string; state: StepState }> {
  const names =
    run.kind === "backup"
      ? ["Queued", "Taking the instant", "Reading", "Committing", "Completed"]
      : run.kind === "restore_vm" || run.kind === "restore_disk"
        ? ["Queued", "Restoring", "Completed"]
        : ["Queued", "Working", "Completed"];
  const last = names.length - 1;
  if (run.state === "failed" || run.state === "cancelled")
    return [
      { name: "Queued", state: "done" },
      { name: run.state === "failed" ? "Failed" : "Cancelled", state: "failed" },
    ];
  let place = run.state === "pending" ? 0 : run.state === "completed" ? last + 1 : 1;
  if (run.kind === "backup" && run.state === "running") {
    if (run.phase.startsWith("reading")) place = 2;
    else if (run.phase === "committing") place = 3;
  }
  return names.map((name, index) => ({
    name: index === place && index > 0 && index < last && run.phase ? sentence(run.phase) : name,
    state: index < place ? "done" : index === place ? "now" : "todo",
  }));
}
