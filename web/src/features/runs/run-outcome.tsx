"use client";

import { useQuery } from "@tanstack/react-query";
import { HiOutlineExternalLink } from "react-icons/hi";
import { failureOf } from "@/api-client";
import { isFinal } from "@/features/live/progress";
import { Button } from "@/ui/button";
import { Facts } from "@/ui/page";
import { ErrorState, Notice, SkeletonLines } from "@/ui/states";
import { type RunInfo, runQuery } from "./queries";
import { RunFailure, useLiveRunInfo } from "./run-panel";
import { resultOf } from "./run-result";
import { LiveRun } from "./run-state";

/** What a finished run of maintenance has found or done; nothing for one that has not completed. */
export function RunResultNotice({ run }: { run: Pick<RunInfo, "kind" | "state" | "result"> }) {
  const result = run.state === "completed" ? resultOf(run) : null;
  if (!result) return null;
  return (
    <Notice tone="ok" title={result.title}>
      {result.facts.length > 0 && (
        <div className="mt-1.5">
          <Facts items={result.facts} />
        </div>
      )}
    </Notice>
  );
}

/** A run from its start to its end, in the width of a dialog. */
export function RunOutcome({ runId, existing }: { runId: string; existing: boolean }) {
  const run = useQuery({
    ...runQuery(runId),
    refetchInterval: ({ state }) => (state.data && isFinal(state.data.state) ? false : 1000),
  });
  return (
    <div className="flex flex-col gap-4">
      {existing && (
        <Notice tone="info">The same was going on already: this is how far it is.</Notice>
      )}
      {run.data ? (
        <Watched run={run.data} />
      ) : run.error ? (
        <ErrorState compact failure={failureOf(run.error)} onRetry={() => run.refetch()} />
      ) : (
        <SkeletonLines lines={3} label="Loading the run" />
      )}
      <div>
        <Button
          size="xs"
          variant="ghost"
          icon={HiOutlineExternalLink}
          href={`/monitoring/runs/${encodeURIComponent(runId)}`}
        >
          Open the run and its log
        </Button>
      </div>
    </div>
  );
}

function Watched({ run: given }: { run: RunInfo }) {
  const run = useLiveRunInfo(given);
  // The result comes with the next answer, a moment after the event that says it has ended.
  if (!isFinal(given.state))
    return (
      <div aria-live="polite">
        <LiveRun run={run} />
        {run.state === "pending" && given.queue_reason && (
          <p className="mt-2 text-sm text-ink-3">It waits: {given.queue_reason}.</p>
        )}
        <RunFailure run={given} />
        <p className="mt-3 text-sm text-ink-3">It goes on when you close this.</p>
      </div>
    );
  if (given.state === "cancelled") return <Notice tone="info" title="It was cancelled" />;
  return given.state === "failed" ? <RunFailure run={given} /> : <RunResultNotice run={given} />;
}
