import type { Schemas } from "@/api-client";
import { words } from "@/ui/format";
import type { Column } from "@/ui/table";
import { Ago, Moment } from "@/ui/values";

export type Point = Schemas["Timeline"]["points"][number];

/** What every list of restore points begins with, and what it says when there is none. */
export const CAPTURED: Column<Point> = {
  key: "at",
  title: "Captured",
  cell: (point) => (
    <span className="flex min-w-0 flex-wrap items-baseline gap-x-2">
      <span className="font-medium">
        <Moment time={point.captured_at} />
      </span>
      <span className="text-xs text-ink-3">
        <Ago time={point.captured_at} />
      </span>
    </span>
  ),
};

export const TYPE: Column<Point> = {
  key: "type",
  title: "Type",
  width: "w-28",
  cell: (point) => words(point.captured_as),
};

export const REPOSITORY: Column<Point> = {
  key: "repository",
  title: "Repository",
  width: "w-36",
  from: "md",
  cell: (point) => point.repository_name,
};

export const NO_POINTS = {
  title: "No restore points yet",
  text: "The first backup makes the first one.",
};
