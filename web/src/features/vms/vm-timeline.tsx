"use client";

import { useQuery } from "@tanstack/react-query";
import { useRouter } from "next/navigation";
import { useMemo } from "react";
import { failureOf, type Schemas } from "@/api-client";
import { PointBadges } from "@/features/backups/point-badges";
import { Card } from "@/ui/card";
import { cx } from "@/ui/class-names";
import { exactTime, plural, shortDate, shortTime, words } from "@/ui/format";
import { DataTable } from "@/ui/table";
import { Bytes } from "@/ui/values";
import { CAPTURED, NO_POINTS, type Point, REPOSITORY, TYPE } from "./point-columns";
import { timelineQuery, type VmDetail } from "./queries";

type Timeline = Schemas["Timeline"];
const POINTS = 200;

/** The restore points of a VM in time, failures between them, and the list. */
export function VmTimeline({ vm }: { vm: VmDetail }) {
  const timeline = useQuery(timelineQuery(vm.id));
  const router = useRouter();
  const data = timeline.data;
  return (
    <div className="flex flex-col gap-4">
      {data && data.points.length > 0 && (
        <Strip timeline={data} onOpen={(id) => router.push(`/backups/${encodeURIComponent(id)}`)} />
      )}
      <Card
        flush
        title={data ? plural(data.total, "restore point") : undefined}
        description={data && data.total > POINTS ? `The newest ${POINTS} are shown` : undefined}
      >
        <DataTable<Point>
          what="restore points"
          rows={data?.points.slice(0, POINTS)}
          rowKey={(point) => point.backup_id}
          failure={timeline.error ? failureOf(timeline.error) : null}
          onRetry={() => timeline.refetch()}
          onOpen={(point) => router.push(`/backups/${encodeURIComponent(point.backup_id)}`)}
          empty={NO_POINTS}
          columns={[
            CAPTURED,
            TYPE,
            {
              key: "consistency",
              title: "Consistency",
              width: "w-28",
              from: "md",
              cell: (point) => words(point.consistency) || "–",
            },
            REPOSITORY,
            {
              key: "stored",
              title: "Stored",
              width: "w-24",
              align: "right",
              cell: (point) => <Bytes value={point.stored_bytes} />,
            },
            {
              key: "notes",
              title: "Notes",
              hideTitle: true,
              width: "w-28",
              from: "sm",
              cell: (point) => (
                <span className="flex items-center gap-1">
                  <PointBadges point={point} />
                </span>
              ),
            },
          ]}
        />
      </Card>
    </div>
  );
}

interface Mark {
  id: string;
  at: number;
  kind: "full" | "incremental" | "failed";
  title: string;
}

/** All points on one line of time, the newest at the right. */
function Strip({ timeline, onOpen }: { timeline: Timeline; onOpen: (id: string) => void }) {
  const marks = useMemo<Mark[]>(
    () => [
      ...timeline.points.map((point) => ({
        id: point.backup_id,
        at: Date.parse(point.captured_at),
        kind: point.captured_as,
        title: `${words(point.captured_as)}, ${exactTime(point.captured_at)}`,
      })),
      ...timeline.failures.map((run) => ({
        id: run.id,
        at: Date.parse(run.completed_at ?? run.created_at),
        kind: "failed" as const,
        title: `Failed, ${exactTime(run.completed_at ?? run.created_at)}: ${run.error_message ?? ""}`,
      })),
    ],
    [timeline],
  );
  const first = Math.min(...marks.map((mark) => mark.at));
  const last = Math.max(...marks.map((mark) => mark.at));
  const span = Math.max(last - first, 3_600_000);
  const place = (at: number) => 1 + (98 * (at - first)) / span;
  const ticks = [0, 0.5, 1].map((share) => first + share * span);
  return (
    <Card>
      <div className="relative h-12">
        <div className="absolute inset-x-0 top-5 h-px bg-line-strong" aria-hidden />
        {marks.map((mark) => (
          <button
            key={`${mark.kind}${mark.id}`}
            type="button"
            title={mark.title}
            aria-label={mark.title}
            onClick={() => onOpen(mark.id)}
            style={{ left: `${place(mark.at)}%` }}
            className="absolute top-2 flex size-6 -translate-x-1/2 items-center justify-center rounded-full hover:bg-sunken"
          >
            <span
              className={cx(
                mark.kind === "full" && "size-3 rounded-[3px] bg-accent-solid",
                mark.kind === "incremental" && "size-2 rounded-full bg-accent-solid",
                mark.kind === "failed" && "size-2.5 rotate-45 rounded-[2px] bg-bad-solid",
              )}
            />
          </button>
        ))}
      </div>
      <div className="relative h-4 text-2xs text-ink-3" aria-hidden>
        {ticks.map((at, index) => (
          <span
            key={at}
            className={cx(
              "absolute whitespace-nowrap tabular-nums",
              index === 0
                ? ""
                : index === ticks.length - 1
                  ? "-translate-x-full"
                  : "-translate-x-1/2",
            )}
            style={{ left: `${place(at)}%` }}
          >
            {span < 2 * 86_400_000 ? shortTime(new Date(at)) : shortDate(new Date(at))}
          </span>
        ))}
      </div>
      <ul className="mt-3 flex gap-4 text-xs text-ink-2">
        <li className="inline-flex items-center gap-1.5">
          <span className="size-3 rounded-[3px] bg-accent-solid" aria-hidden /> Full
        </li>
        <li className="inline-flex items-center gap-1.5">
          <span className="size-2 rounded-full bg-accent-solid" aria-hidden /> Incremental
        </li>
        {timeline.failures.length > 0 && (
          <li className="inline-flex items-center gap-1.5">
            <span className="size-2.5 rotate-45 rounded-[2px] bg-bad-solid" aria-hidden /> Failed
          </li>
        )}
      </ul>
    </Card>
  );
}
