"use client";

import { useQuery } from "@tanstack/react-query";
import { failureOf } from "@/api-client";
import { useDenied } from "@/features/session/session";
import { Button } from "@/ui/button";
import { Card } from "@/ui/card";
import { cx } from "@/ui/class-names";
import { clockTime, exactTime } from "@/ui/format";
import { EmptyState, ErrorState, SkeletonLines } from "@/ui/states";
import { runLogQuery } from "./queries";

const COLOURS: Record<string, string> = {
  debug: "text-ink-3",
  info: "text-ink-2",
  warning: "text-warn",
  error: "text-bad",
};

/** What a run wrote, the newest first. */
export function RunLog({ runId, active }: { runId: string; active: boolean }) {
  const denied = useDenied("logs.read");
  const log = useQuery({
    ...runLogQuery(runId),
    enabled: !denied,
    refetchInterval: active ? 3000 : false,
  });
  return (
    <Card
      flush
      title="Log"
      actions={
        <Button size="xs" variant="ghost" href={`/logs?run=${encodeURIComponent(runId)}`}>
          Open in Logs
        </Button>
      }
    >
      {denied ? (
        <EmptyState title="Not for your role">{denied}</EmptyState>
      ) : log.error && !log.data ? (
        <ErrorState compact failure={failureOf(log.error)} onRetry={() => log.refetch()} />
      ) : !log.data ? (
        <div className="p-4">
          <SkeletonLines lines={5} label="Loading the log" />
        </div>
      ) : log.data.entries.length === 0 ? (
        <EmptyState title="Nothing logged yet" />
      ) : (
        <ol aria-label="Log lines, newest first" className="py-1 font-mono text-xs">
          {log.data.entries.map((line) => (
            <li key={line.seq} className="flex gap-3 px-4 py-1 hover:bg-hover">
              <time
                dateTime={line.at}
                title={exactTime(line.at)}
                className="flex-none tabular-nums text-ink-3"
              >
                {clockTime(line.at)}
              </time>
              <span className={cx("w-14 flex-none", COLOURS[line.level])}>{line.level}</span>
              <span className="min-w-0 flex-1 break-words text-ink">{line.message}</span>
            </li>
          ))}
        </ol>
      )}
    </Card>
  );
}
