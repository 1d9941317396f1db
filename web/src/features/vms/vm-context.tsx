"use client";

import { useQuery } from "@tanstack/react-query";
import Link from "next/link";
import type { ReactNode } from "react";
import { HiArrowRight } from "react-icons/hi";
import { failureOf } from "@/api-client";
import { PointBadges } from "@/features/backups/point-badges";
import { LiveRun, RunBadge } from "@/features/runs/run-state";
import { Badge, Tag } from "@/ui/badge";
import { words } from "@/ui/format";
import { Facts } from "@/ui/page";
import { ErrorState, Notice, SkeletonLines } from "@/ui/states";
import { Ago, Bytes } from "@/ui/values";
import { PowerStatus, ProtectionBadge } from "./protection";
import { timelineQuery, vmQuery } from "./queries";
import { VmButtons } from "./vm-buttons";

const LAST_POINTS = 5;

/** Everything about one VM at a glance: the content of the right panel. */
export function VmContext({ id }: { id: string }) {
  const vm = useQuery({ ...vmQuery(id), refetchInterval: 30_000 });
  const timeline = useQuery(timelineQuery(id));
  if (vm.error && !vm.data)
    return <ErrorState compact failure={failureOf(vm.error)} onRetry={() => vm.refetch()} />;
  if (!vm.data) {
    return (
      <div className="p-4">
        <SkeletonLines lines={8} label="Loading the virtual machine" />
      </div>
    );
  }
  const it = vm.data;
  return (
    <div className="flex flex-col">
      <div className="border-b border-line px-4 pt-1 pb-4">
        <Link
          href={`/virtual-machines/${encodeURIComponent(it.id)}`}
          className="group block rounded"
          title={it.name}
        >
          <h2 className="flex items-center gap-1.5 text-lg font-semibold tracking-tight">
            <span className="truncate group-hover:underline">{it.name}</span>
            <HiArrowRight className="size-4 flex-none text-ink-3" aria-hidden />
          </h2>
        </Link>
        <div className="mt-1 flex flex-wrap items-center gap-2 text-xs text-ink-2">
          <ProtectionBadge protection={it.protection} />
          <PowerStatus power={it.power} />
          {!it.present && <Badge tone="warn">Not on its platform</Badge>}
        </div>
        <div className="mt-3 flex flex-wrap gap-2">
          <VmButtons vm={it} newestBackupId={timeline.data?.points[0]?.backup_id} />
        </div>
      </div>
      {it.active_run && (
        <Part title="Now">
          <LiveRun run={it.active_run} />
          <Link
            href={`${it.active_run.kind === "backup" ? "/backups" : "/monitoring/runs"}/${encodeURIComponent(it.active_run.id)}?vm=${encodeURIComponent(it.id)}`}
            className="mt-2 inline-block rounded text-xs text-accent hover:underline"
          >
            Details
          </Link>
        </Part>
      )}
      {it.protection === "failing" && timeline.data?.failures[0]?.error_message && (
        <Part title="Last failure">
          <Notice tone="bad">{timeline.data.failures[0].error_message}</Notice>
        </Part>
      )}
      <Part
        title="Last restore points"
        more={
          it.point_count > LAST_POINTS
            ? `/virtual-machines/${encodeURIComponent(it.id)}?tab=backups`
            : undefined
        }
      >
        {timeline.data ? (
          timeline.data.points.length === 0 ? (
            <p className="text-ink-3">None yet. Start a backup to make the first.</p>
          ) : (
            <ul className="-mx-2 flex flex-col">
              {timeline.data.points.slice(0, LAST_POINTS).map((point) => (
                <li key={point.backup_id}>
                  <Link
                    href={`/backups/${encodeURIComponent(point.backup_id)}`}
                    className="flex items-center gap-2 rounded-md px-2 py-1.5 hover:bg-hover"
                  >
                    <span className="w-24 flex-none">
                      <Ago time={point.captured_at} />
                    </span>
                    <span className="flex-1 truncate text-ink-3">{words(point.captured_as)}</span>
                    <PointBadges point={point} />
                    <Bytes value={point.stored_bytes} />
                  </Link>
                </li>
              ))}
            </ul>
          )
        ) : timeline.error ? (
          <p className="text-ink-3">{failureOf(timeline.error).detail}</p>
        ) : (
          <SkeletonLines lines={3} />
        )}
      </Part>
      <Part title="Protection">
        <Facts
          items={[
            ["Last backup", <Ago key="last" time={it.last_backup_at} />],
            it.last_run_state
              ? ["Last run", <RunBadge key="run" state={it.last_run_state as "completed"} />]
              : null,
            ["Restore points", it.point_count],
            ["Stored", <Bytes key="stored" value={it.stored_bytes} />],
          ]}
        />
      </Part>
      <Part title="Machine">
        <Facts
          items={[
            ["Platform", it.platform_name || "–"],
            [
              "CPU, memory",
              it.vcpus > 0 ? (
                <span key="cpu">
                  {it.vcpus} vCPU, <Bytes value={it.memory_bytes} />
                </span>
              ) : (
                "–"
              ),
            ],
            [
              "Disks",
              <span key="disks">
                {it.disk_count}, <Bytes value={it.size_bytes} />
              </span>,
            ],
            ["Firmware", it.firmware === "none" ? "–" : it.firmware.toUpperCase()],
            it.tags.length > 0
              ? [
                  "Tags",
                  <span key="tags" className="flex flex-wrap gap-1">
                    {it.tags.map((tag) => (
                      <Tag key={tag}>{tag}</Tag>
                    ))}
                  </span>,
                ]
              : null,
          ]}
        />
      </Part>
    </div>
  );
}

function Part({
  title,
  more,
  children,
}: {
  title: string;
  more?: string | undefined;
  children: ReactNode;
}) {
  return (
    <section className="border-b border-line px-4 py-3.5 last:border-b-0">
      <div className="mb-2 flex items-center justify-between">
        <h3 className="text-xs font-medium text-ink-3">{title}</h3>
        {more && (
          <Link href={more} className="rounded text-xs text-accent hover:underline">
            All
          </Link>
        )}
      </div>
      {children}
    </section>
  );
}
