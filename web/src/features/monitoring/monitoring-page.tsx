"use client";

import { useQuery } from "@tanstack/react-query";
import dynamic from "next/dynamic";
import Link from "next/link";
import { useEffect, useRef, useState } from "react";
import { HiOutlineXCircle } from "react-icons/hi";
import { api, failureOf, type Schemas, take } from "@/api-client";
import { useLiveRun, useProgress } from "@/features/live/progress";
import { kindWords } from "@/features/runs/run-state";
import { useRunActions } from "@/features/runs/runs-table";
import { useDenied } from "@/features/session/session";
import { repositoriesQuery } from "@/features/settings/repositories/queries";
import { useSelectedVm } from "@/features/vms/selection";
import { Badge, Status } from "@/ui/badge";
import { IconButton } from "@/ui/button";
import { Card } from "@/ui/card";
import { bytes, duration, percent, plural, rate, sentence, words } from "@/ui/format";
import { Page, PageHeader } from "@/ui/page";
import { PartsBar, Progress } from "@/ui/progress";
import { EmptyState, ErrorState, SkeletonLines } from "@/ui/states";
import { DataTable } from "@/ui/table";
import { Ago, Bytes, Duration, Rate } from "@/ui/values";

type Monitoring = Schemas["Monitoring"];
type Run = Schemas["RunBrief"];
type Point = { at: number; value: number };

const Sparkline = dynamic(() => import("@/ui/chart").then((charts) => charts.Sparkline), {
  ssr: false,
  loading: () => <div className="h-12" />,
});
const EVERY_MS = 2000;
const KEPT = 150; // five minutes

export function MonitoringPage() {
  const monitoring = useQuery({
    queryKey: ["monitoring"],
    queryFn: () => take(api.GET("/api/v1/monitoring")),
    refetchInterval: EVERY_MS,
    staleTime: 0,
  });
  const it = monitoring.data;
  return (
    <Page>
      <PageHeader
        title="Monitoring"
        description={it && `The service has been up for ${duration(it.uptime_seconds)}`}
      />
      {monitoring.error && !it ? (
        <Card>
          <ErrorState failure={failureOf(monitoring.error)} onRetry={() => monitoring.refetch()} />
        </Card>
      ) : (
        <>
          <Host load={it?.host} />
          <Card
            title="Running"
            description={
              it && (it.running.length > 0 ? plural(it.running.length, "run") : undefined)
            }
            flush
          >
            {!it ? (
              <div className="p-4">
                <SkeletonLines lines={4} />
              </div>
            ) : it.running.length === 0 ? (
              <EmptyState compact title="Nothing runs now">
                Backups, restores and maintenance appear here while they run.
              </EmptyState>
            ) : (
              <ul>
                {it.running.map((run) => (
                  <RunningRow key={run.id} run={run} />
                ))}
              </ul>
            )}
          </Card>
          <div className="grid gap-4 xl:grid-cols-2">
            <Card title="Queues" flush>
              <DataTable
                what="queues"
                rows={it?.queues}
                rowKey={(queue) => queue.resource}
                skeletonRows={3}
                empty={{ title: "No queues" }}
                columns={[
                  {
                    key: "name",
                    title: "Limited by",
                    cell: (queue) => (
                      <span className="block truncate" title={queue.name}>
                        <span className="font-medium">{queue.name}</span>{" "}
                        <span className="text-ink-3">
                          {words(queue.resource.split(":")[0] ?? "").toLowerCase()}
                        </span>
                      </span>
                    ),
                  },
                  {
                    key: "used",
                    title: "In use",
                    width: "w-40",
                    cell: (queue) => (
                      <span className="flex items-center gap-2">
                        <Progress
                          value={queue.limit > 0 ? (100 * queue.running) / queue.limit : 0}
                          label={`In use of ${queue.name}`}
                          className="flex-1"
                        />
                        <span className="w-12 text-right text-xs tabular-nums text-ink-2">
                          {queue.running} of {queue.limit}
                        </span>
                      </span>
                    ),
                  },
                  {
                    key: "waiting",
                    title: "Waiting",
                    width: "w-24",
                    align: "right",
                    cell: (queue) => <span className="tabular-nums">{queue.waiting}</span>,
                  },
                ]}
              />
            </Card>
            <Card title="Workers" flush>
              <DataTable
                what="workers"
                rows={it?.workers}
                rowKey={(worker) => worker.id}
                skeletonRows={3}
                empty={{
                  title: "No workers",
                  text: "Without one, nothing runs. The service starts one by itself.",
                }}
                columns={[
                  {
                    key: "host",
                    title: "Worker",
                    cell: (worker) => (
                      <span
                        className="block truncate font-medium"
                        title={`${worker.host}, process ${worker.pid}, version ${worker.version}`}
                      >
                        {worker.host} <span className="font-normal text-ink-3">{worker.pid}</span>
                      </span>
                    ),
                  },
                  {
                    key: "state",
                    title: "State",
                    width: "w-28",
                    cell: (worker) => (
                      <Status
                        tone={
                          worker.state === "alive" ? "ok" : worker.state === "lost" ? "bad" : "warn"
                        }
                      >
                        {words(worker.state)}
                      </Status>
                    ),
                  },
                  {
                    key: "slots",
                    title: "Runs",
                    width: "w-24",
                    align: "right",
                    cell: (worker) => (
                      <span className="tabular-nums">
                        {worker.running} of {worker.slots}
                      </span>
                    ),
                  },
                  {
                    key: "heartbeat",
                    title: "Heartbeat",
                    width: "w-28",
                    from: "sm",
                    align: "right",
                    cell: (worker) => <Ago time={worker.heartbeat_at} />,
                  },
                ]}
              />
            </Card>
          </div>
          <Card
            title="Waiting"
            description={
              it && it.pending_total > it.pending.length
                ? `The next ${it.pending.length} of ${it.pending_total}`
                : undefined
            }
            flush
          >
            <DataTable
              what="waiting runs"
              rows={it?.pending}
              rowKey={(run) => run.id}
              skeletonRows={2}
              empty={{ title: "Nothing waits" }}
              columns={[
                {
                  key: "vm",
                  title: "What",
                  cell: (run) => (
                    <span className="block truncate">
                      <span className="font-medium">{kindWords(run.kind)}</span> {run.vm_name}
                    </span>
                  ),
                },
                {
                  key: "since",
                  title: "Queued",
                  width: "w-28",
                  cell: (run) => <Ago time={run.created_at} />,
                },
              ]}
            />
          </Card>
          <Repositories />
        </>
      )}
    </Page>
  );
}

/** The last five minutes of a value, from when the page was opened. */
function useHistory(value: number | undefined, at: string | undefined): Point[] {
  const points = useRef<Point[]>([]);
  const [, redraw] = useState(0);
  useEffect(() => {
    if (value === undefined || !at) return;
    const moment = Date.parse(at);
    if ((points.current.at(-1)?.at ?? 0) >= moment) return;
    points.current = [...points.current.slice(1 - KEPT), { at: moment, value }];
    redraw((count) => count + 1);
  }, [value, at]);
  return points.current;
}

function Host({ load }: { load: Monitoring["host"] | undefined }) {
  const memory =
    load && load.memory_total_bytes > 0
      ? (100 * load.memory_used_bytes) / load.memory_total_bytes
      : undefined;
  return (
    <div className="grid grid-cols-2 gap-3 lg:grid-cols-4">
      <Gauge
        title="CPU"
        value={load?.cpu_percent}
        at={load?.at}
        format={percent}
        max={100}
        detail={load && `Load ${load.load_1.toFixed(2)}, ${plural(load.cpu_count, "core")}`}
      />
      <Gauge
        title="Memory"
        value={memory}
        at={load?.at}
        format={percent}
        max={100}
        detail={load && `${bytes(load.memory_used_bytes)} of ${bytes(load.memory_total_bytes)}`}
      />
      <Gauge
        title="Disk"
        value={load && load.disk_read_bps + load.disk_write_bps}
        at={load?.at}
        format={rate}
        detail={load && `Read ${rate(load.disk_read_bps)}, write ${rate(load.disk_write_bps)}`}
      />
      <Gauge
        title="Network"
        value={load && load.network_receive_bps + load.network_send_bps}
        at={load?.at}
        format={rate}
        detail={load && `In ${rate(load.network_receive_bps)}, out ${rate(load.network_send_bps)}`}
      />
    </div>
  );
}

function Gauge({
  title,
  value,
  at,
  format,
  detail,
  max,
}: {
  title: string;
  value: number | undefined;
  at: string | undefined;
  format: (value: number) => string;
  detail: string | undefined;
  max?: number;
}) {
  const points = useHistory(value, at);
  return (
    <Card>
      <div className="flex items-baseline justify-between gap-2">
        <h2 className="text-xs font-medium text-ink-3">{title}</h2>
        <span className="whitespace-nowrap text-base font-semibold tabular-nums sm:text-lg">
          {value === undefined ? "–" : format(value)}
        </span>
      </div>
      <Sparkline points={points} label={title} format={format} {...(max ? { max } : {})} />
      <p className="truncate text-2xs tabular-nums text-ink-3" title={detail}>
        {detail ?? " "}
      </p>
    </Card>
  );
}

function RunningRow({ run: given }: { run: Run }) {
  const run = useLiveRun(given);
  const update = useProgress(given.id);
  const speeds = useHistory(run.throughput_bps, update?.at);
  const [, select] = useSelectedVm();
  const mayRun = useDenied("backup.run");
  const { cancel } = useRunActions();
  const split = update?.bottleneck;
  return (
    <li className="grid gap-x-6 gap-y-2 border-b border-line px-4 py-3 last:border-b-0 md:grid-cols-[minmax(0,1fr)_minmax(0,1fr)_12rem]">
      <div className="flex min-w-0 items-start gap-2">
        <div className="min-w-0 flex-1">
          <button
            type="button"
            className="block max-w-full truncate rounded font-medium hover:underline"
            title={run.vm_name}
            onClick={() => run.vm_id && select(run.vm_id)}
          >
            {run.vm_name || kindWords(run.kind)}
          </button>
          <p className="truncate text-xs text-ink-3">
            {kindWords(run.kind)} · {sentence(run.phase)} · started <Ago time={run.started_at} />
          </p>
          <Link
            href={`${run.kind === "backup" ? "/backups" : "/monitoring/runs"}/${encodeURIComponent(run.id)}`}
            className="rounded text-xs text-accent hover:underline"
          >
            Details
          </Link>
        </div>
        <IconButton
          icon={HiOutlineXCircle}
          label={`Cancel the ${kindWords(run.kind).toLowerCase()} of ${run.vm_name}`}
          onClick={() => cancel.mutate(run.id)}
          disabledReason={mayRun}
        />
      </div>
      <div className="min-w-0">
        <Progress
          value={run.progress_percent}
          label={`${kindWords(run.kind)} of ${run.vm_name}`}
          number
        />
        <p className="mt-1 text-xs text-ink-3">
          {update ? (
            <>
              <Bytes value={update.bytes_transferred} /> of <Bytes value={update.total_bytes} />,{" "}
            </>
          ) : null}
          {run.eta_seconds === null ? (
            "time left not known yet"
          ) : (
            <>
              <Duration seconds={run.eta_seconds} /> left
            </>
          )}
        </p>
        {split && (
          <div className="mt-2">
            <PartsBar
              label="Where the time goes"
              parts={[
                { name: "Source", value: split.source, className: "bg-accent-solid" },
                { name: "Network", value: split.network, className: "bg-ok-solid" },
                { name: "CPU", value: split.cpu, className: "bg-warn-solid" },
                { name: "Repository", value: split.repository, className: "bg-ink-3" },
              ].filter((part) => part.value > 0)}
            />
          </div>
        )}
      </div>
      <div className="min-w-0">
        <div className="flex items-baseline justify-between text-xs text-ink-3">
          Speed
          <span className="text-sm font-medium text-ink">
            <Rate value={run.throughput_bps} />
          </span>
        </div>
        <Sparkline points={speeds} label={`Speed of ${run.vm_name}`} format={rate} />
      </div>
    </li>
  );
}

function Repositories() {
  const repositories = useQuery({ ...repositoriesQuery(), refetchInterval: 30_000 });
  return (
    <Card title="Repositories" flush>
      <DataTable
        what="repositories"
        rows={repositories.data?.repositories}
        rowKey={(one) => one.id}
        failure={repositories.error ? failureOf(repositories.error) : null}
        onRetry={() => repositories.refetch()}
        skeletonRows={2}
        columns={[
          {
            key: "name",
            title: "Name",
            cell: (one) => (
              <span className="block truncate font-medium" title={one.location}>
                {one.name}
              </span>
            ),
          },
          {
            key: "state",
            title: "State",
            width: "w-28",
            cell: (one) => (
              <Badge
                tone={one.state === "online" ? "ok" : one.state === "offline" ? "bad" : "idle"}
                title={one.state_message}
              >
                {words(one.state)}
              </Badge>
            ),
          },
          {
            key: "used",
            title: "Used",
            width: "w-28",
            align: "right",
            cell: (one) => <Bytes value={one.used_bytes} />,
          },
          {
            key: "free",
            title: "Free",
            width: "w-28",
            align: "right",
            from: "sm",
            cell: (one) => <Bytes value={one.available_bytes} />,
          },
          {
            key: "measured",
            title: "Measured",
            width: "w-28",
            align: "right",
            from: "md",
            cell: (one) => <Ago time={one.measured_at} />,
          },
        ]}
      />
    </Card>
  );
}
