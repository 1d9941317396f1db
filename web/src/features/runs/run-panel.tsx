"use client";

import dynamic from "next/dynamic";
import type { ReactNode } from "react";
import { HiCheck, HiExclamation } from "react-icons/hi";
import type { Schemas } from "@/api-client";
import { isFinal, samplesOf, useProgress, withProgress } from "@/features/live/progress";
import { Card } from "@/ui/card";
import { cx } from "@/ui/class-names";
import { sentence } from "@/ui/format";
import { type Part, PartsBar, Progress } from "@/ui/progress";
import { ErrorCode, Notice, Skeleton } from "@/ui/states";
import { Ago, Bytes, Duration, Missing, Rate, useTick } from "@/ui/values";
import type { RunInfo } from "./queries";
import { countsBytes, RUN_TONES, RunBadge, runName } from "./run-state";
import { stepsOf } from "./steps";

const ThroughputChart = dynamic(() => import("@/ui/chart").then((all) => all.ThroughputChart), {
  ssr: false,
  loading: () => <Skeleton className="h-40 w-full" />,
});

/** A run as the service told it last, with everything that events said since. */
export function useLiveRunInfo(given: RunInfo): RunInfo {
  const update = useProgress(given.id);
  const run = withProgress(given, update);
  if (!update || run === given) return given;
  return {
    ...run,
    bytes_done: update.bytes_transferred,
    bytes_total: update.total_bytes,
    bytes_stored: update.stored_bytes,
    ...(update.disks.length > 0
      ? {
          disks: update.disks,
          bytes_read: update.disks.reduce((sum, disk) => sum + disk.read_bytes, 0),
        }
      : {}),
    bottleneck: update.bottleneck ?? given.bottleneck,
    error_code: update.error_code,
    error_message: update.error_message,
    attempt: update.attempt,
  };
}

/** How far it is, where it is, how fast, and what it waits for. */
export function RunPanel({ run: given }: { run: RunInfo }) {
  const run = useLiveRunInfo(given);
  const active = !isFinal(run.state);
  const samples = samplesOf(run);
  const inBytes = countsBytes(run.kind);
  const drawn = inBytes && samples.length > 1 && samples.some(([, speed]) => speed > 0);
  return (
    <Card title="Progress" actions={<RunBadge state={run.state} />}>
      <Steps run={run} />
      <Progress
        className="mt-4"
        size="lg"
        value={run.state === "pending" ? 0 : run.progress_percent}
        tone={RUN_TONES[run.state]}
        label={runName(run)}
        number
      />
      {run.queue_reason && run.state === "pending" && (
        <p className="mt-2 text-sm text-ink-2">{sentence(run.queue_reason)}</p>
      )}
      <dl className="mt-4 grid grid-cols-2 gap-x-4 gap-y-3 sm:grid-cols-3 xl:grid-cols-6">
        {inBytes && (
          <>
            <Figure name={active ? "Processed" : "Processed in all"}>
              <Bytes value={run.bytes_done} />
              {active && run.bytes_total > 0 && (
                <span className="text-xs text-ink-3">
                  {" of "}
                  <Bytes value={run.bytes_total} />
                </span>
              )}
            </Figure>
            <Figure name={active ? "Speed" : "Average speed"}>
              <Rate value={active ? run.throughput_bps || null : averageOf(run)} />
            </Figure>
          </>
        )}
        {active && (
          <Figure name="Time left">
            {run.state === "running" ? <Duration seconds={run.eta_seconds} /> : <Missing />}
          </Figure>
        )}
        <Figure name={active ? "Running for" : "Took"}>
          <Elapsed run={run} />
        </Figure>
        {inBytes && (
          <>
            <Figure name="Read">
              <Bytes value={run.bytes_read} />
            </Figure>
            <Figure name="Stored">
              <Bytes value={run.bytes_stored} />
            </Figure>
          </>
        )}
      </dl>
      {(drawn || (active && inBytes)) && (
        <section className="mt-5">
          <h3 className="mb-2 text-xs font-medium text-ink-3">Throughput</h3>
          {drawn ? (
            <ThroughputChart samples={samples} />
          ) : (
            <p className="text-sm text-ink-3">The graph begins when bytes move.</p>
          )}
        </section>
      )}
      {run.bottleneck && (active || run.bytes_done > 0) && (
        <WhereTimeGoes split={run.bottleneck} over={!active} />
      )}
    </Card>
  );
}

function averageOf(run: RunInfo): number | null {
  if (!run.started_at || !run.completed_at) return null;
  const seconds = (Date.parse(run.completed_at) - Date.parse(run.started_at)) / 1000;
  return seconds > 0 && run.bytes_done > 0 ? Math.round(run.bytes_done / seconds) : null;
}

function Figure({ name, children }: { name: string; children: ReactNode }) {
  return (
    <div className="min-w-0">
      <dt className="text-xs text-ink-3">{name}</dt>
      <dd className="mt-0.5 font-medium tabular-nums">{children}</dd>
    </div>
  );
}

function Elapsed({ run }: { run: RunInfo }) {
  const now = useTick(run.state === "running");
  if (!run.started_at) return <Missing title="It has not begun" />;
  const end = run.completed_at ? Date.parse(run.completed_at) : now;
  return <Duration seconds={Math.max(0, (end - Date.parse(run.started_at)) / 1000)} />;
}

function Steps({ run }: { run: RunInfo }) {
  return (
    <ol aria-label="Phases" className="flex flex-wrap gap-x-5 gap-y-1.5 text-sm">
      {stepsOf(run).map((step) => (
        <li
          key={step.name}
          aria-current={step.state === "now" ? "step" : undefined}
          className={cx(
            "inline-flex items-center gap-1.5",
            step.state === "todo" && "text-ink-3",
            step.state === "now" && "font-medium text-accent",
            step.state === "done" && "text-ink-2",
            step.state === "failed" && "font-medium text-bad",
          )}
        >
          <span
            aria-hidden
            className={cx(
              "flex size-4 flex-none items-center justify-center rounded-full",
              step.state === "done" && "bg-ok-soft text-ok",
              step.state === "now" && "bg-accent-soft",
              step.state === "todo" && "border border-line-strong",
              step.state === "failed" && "bg-bad-soft text-bad",
            )}
          >
            {step.state === "done" && <HiCheck className="size-3" />}
            {step.state === "failed" && <HiExclamation className="size-3" />}
            {step.state === "now" && (
              <span className="size-1.5 animate-pulse rounded-full bg-accent-solid" />
            )}
          </span>
          {step.name}
        </li>
      ))}
    </ol>
  );
}

const PARTS: Array<[keyof Schemas["Bottleneck"], string, string, string]> = [
  ["source", "Source", "bg-accent-solid", "Waiting for the hypervisor's disks"],
  ["network", "Network", "bg-ok-solid", "Waiting for the network"],
  ["cpu", "CPU", "bg-warn-solid", "Hashing, compressing, sealing"],
  ["repository", "Repository", "bg-ink-3", "Waiting for the repository's storage"],
];

/** The shares of a run's busy time, each always in its colour. */
export function partsOf(split: Schemas["Bottleneck"]): Part[] {
  return PARTS.map(([key, name, className, title]) => ({
    name,
    className,
    title,
    value: split[key],
  }));
}

function WhereTimeGoes({ split, over }: { split: Schemas["Bottleneck"]; over: boolean }) {
  const parts = partsOf(split);
  if (parts.every((part) => part.value === 0)) return null;
  return (
    <section className="mt-5">
      <h3 className="mb-2 text-xs font-medium text-ink-3">
        {over ? "Where the time went" : "Where the time goes"}
      </h3>
      <PartsBar parts={parts} label={over ? "Where the time went" : "Where the time goes"} />
    </section>
  );
}

/** What went wrong and what to do about it. */
export function RunFailure({
  run,
  action,
}: {
  run: Pick<RunInfo, "state" | "error_code" | "error_message" | "error_hint" | "not_before"> & {
    attempt: number;
  };
  action?: ReactNode;
}) {
  if (!run.error_message || run.state === "completed") return null;
  const again = run.state === "pending" || run.state === "running";
  return (
    <Notice
      tone={again ? "warn" : "bad"}
      icon={HiExclamation}
      title={again ? `Attempt ${run.attempt} failed` : sentence(run.error_message)}
      action={action}
    >
      {again && <p>{sentence(run.error_message)}</p>}
      {run.error_hint && <p>{run.error_hint}.</p>}
      {again && run.not_before && (
        <p>
          The next attempt begins <Ago time={run.not_before} />.
        </p>
      )}
      {run.error_code && <ErrorCode code={run.error_code} />}
    </Notice>
  );
}
