"use client";

import { useQuery } from "@tanstack/react-query";
import { api, failureOf, take } from "@/api-client";
import { Card } from "@/ui/card";
import { duration, plural } from "@/ui/format";
import { Page, PageHeader } from "@/ui/page";
import { EmptyState, ErrorState, SkeletonLines } from "@/ui/states";
import { EVERY_MS } from "./history";
import { HostLoad } from "./host-load";
import { Queues, Repositories, Waiting, Workers } from "./monitoring-tables";
import { RunningRow } from "./running-row";

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
          <HostLoad load={it?.host} />
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
            <Queues monitoring={it} />
            <Workers monitoring={it} />
          </div>
          <Waiting monitoring={it} />
          <Repositories />
        </>
      )}
    </Page>
  );
}
