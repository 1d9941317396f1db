"use client";

import { useQuery } from "@tanstack/react-query";
import { useEffect } from "react";
import { HiOutlineExternalLink } from "react-icons/hi";
import { failureOf } from "@/api-client";
import { isFinal } from "@/features/live/progress";
import { Button } from "@/ui/button";
import { sentence } from "@/ui/format";
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
        <Watched run={run.data} unreachable={run.failureCount > 0} onEnded={run.refetch} />
      ) : run.error ? (
        <ErrorState compact failure={failureOf(run.error)} onRetry={() => run.refetch()} />
      ) : (
        <SkeletonLines lines={3} label="Loading the run" />
      )}
      <div>
        <Button
          size="xs"
          variant="ghost"
          className="-ml-2"
          icon={HiOutlineExternalLink}
          href={`/monitoring/runs/${encodeURIComponent(runId)}`}
        >
          Open the run and its log
        </Button>
      </div>
    </div>
  );
}

function Watched({
  run: given,
  unreachable,
  onEnded,
}: {
  run: RunInfo;
  /** The last question after it was not answered. */
  unreachable: boolean;
  onEnded: () => void;
}) {
  const run = useLiveRunInfo(given);
  const ended = isFinal(run.state);
  useEffect(() => {
    if (ended) onEnded();
  }, [ended, onEnded]);
  // The result comes with the next answer, a moment after the event that says it has ended.
  if (!isFinal(given.state))
    return (
      <div aria-live="polite">
        <LiveRun run={run} />
        {run.state === "pending" && given.queue_reason && (
          <p className="mt-2 text-sm text-ink-3">{sentence(given.queue_reason)}.</p>
        )}
        <RunFailure run={given} />
        {unreachable ? (
          <Notice tone="warn" className="mt-3" title="The service does not answer">
            How far the run is now is not known. It is shown again as soon as the service answers.
          </Notice>
        ) : (
          !ended && <p className="mt-3 text-sm text-ink-3">It goes on when you close this.</p>
        )}
      </div>
    );
  if (given.state === "cancelled") return <Notice tone="info" title="It was cancelled" />;
  return given.state === "failed" ? <RunFailure run={given} /> : <RunResultNotice run={given} />;
}
