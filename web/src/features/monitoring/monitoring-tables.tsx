"use client";

import { useQuery } from "@tanstack/react-query";
import { failureOf, type Schemas } from "@/api-client";
import { kindWords } from "@/features/runs/run-state";
import { repositoriesQuery } from "@/features/settings/repositories/queries";
import { Badge, Status } from "@/ui/badge";
import { Card } from "@/ui/card";
import { words } from "@/ui/format";
import { Progress } from "@/ui/progress";
import { DataTable } from "@/ui/table";
import { Ago, Bytes } from "@/ui/values";

type Monitoring = Schemas["Monitoring"];
interface Props {
  /** Undefined while it loads. */
  monitoring: Monitoring | undefined;
}

/** What limits how many runs go on at once. */
export function Queues({ monitoring: it }: Props) {
  return (
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
  );
}

export function Workers({ monitoring: it }: Props) {
  return (
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
                tone={worker.state === "alive" ? "ok" : worker.state === "lost" ? "bad" : "warn"}
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
  );
}

export function Waiting({ monitoring: it }: Props) {
  return (
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
  );
}

export function Repositories() {
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
