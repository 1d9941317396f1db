"use client";

// The only importer of Recharts; pages load it lazily (next/dynamic), after their numbers.

import {
  Area,
  AreaChart,
  Bar,
  BarChart,
  CartesianGrid,
  Line,
  LineChart,
  ResponsiveContainer,
  Tooltip,
  XAxis,
  YAxis,
} from "recharts";
import { bytes, count, duration, exactBytes, rate, ratio, shortDate } from "./format";
import { countTicks, sizeTicks, tickSize, timeTicks } from "./ticks";

const AXIS = { stroke: "var(--ink-3)", fontSize: 11, tickLine: false, axisLine: false } as const;
const MARGIN = { top: 8, right: 4, bottom: 0, left: 0 };

interface Entry {
  name?: unknown;
  value?: unknown;
  color?: string | undefined;
  dataKey?: unknown;
}

function Hint({
  active,
  label,
  payload,
  format,
  head,
}: {
  active?: boolean;
  label?: unknown;
  payload?: readonly Entry[];
  format: (key: string, value: number) => string;
  head: (label: string) => string;
}) {
  if (!active || !payload?.length) return null;
  return (
    <div className="rounded-md border border-line bg-raised px-2.5 py-2 text-xs shadow-float">
      <div className="mb-1 font-medium text-ink">{head(String(label))}</div>
      {payload.map((entry) => (
        <div key={String(entry.dataKey)} className="flex items-center gap-1.5 text-ink-2">
          <span className="size-2 rounded-sm" style={{ background: entry.color }} />
          {String(entry.name)}
          <span className="ml-auto pl-4 tabular-nums text-ink">
            {format(String(entry.dataKey), Number(entry.value))}
          </span>
        </div>
      ))}
    </div>
  );
}

function Legend({ items }: { items: Array<[string, string]> }) {
  return (
    <ul className="mb-1 flex flex-wrap gap-x-4 gap-y-1 text-xs text-ink-2">
      {items.map(([name, colour]) => (
        <li key={name} className="inline-flex items-center gap-1.5">
          <span className="size-2 rounded-sm" style={{ background: colour }} aria-hidden />
          {name}
        </li>
      ))}
    </ul>
  );
}

/** A table with the same numbers, for screen readers. */
function Spoken({ caption, head, rows }: { caption: string; head: string[]; rows: string[][] }) {
  return (
    <table className="sr-only">
      <caption>{caption}</caption>
      <thead>
        <tr>
          {head.map((name) => (
            <th key={name} scope="col">
              {name}
            </th>
          ))}
        </tr>
      </thead>
      <tbody>
        {rows.map((row) => (
          <tr key={row[0]}>
            {row.map((cell, place) => (
              <td key={head[place]}>{cell}</td>
            ))}
          </tr>
        ))}
      </tbody>
    </table>
  );
}

const day = (text: string) => shortDate(`${text}T12:00:00`);

export function ActivityChart({
  days,
}: {
  days: Array<{ day: string; completed: number; failed: number; cancelled: number }>;
}) {
  const cancelled = days.some((one) => one.cancelled > 0);
  const ticks = countTicks(
    Math.max(1, ...days.map((one) => one.completed + one.failed + one.cancelled)),
  );
  return (
    <div>
      <Legend
        items={[
          ["Completed", "var(--accent-solid)"],
          ["Failed", "var(--bad-solid)"],
          ...(cancelled ? [["Cancelled", "var(--line-strong)"] as [string, string]] : []),
        ]}
      />
      <div className="h-56" aria-hidden>
        <ResponsiveContainer width="100%" height="100%">
          <BarChart accessibilityLayer={false} data={days} margin={MARGIN} barCategoryGap="28%">
            <CartesianGrid vertical={false} stroke="var(--line)" />
            <XAxis dataKey="day" tickFormatter={day} {...AXIS} minTickGap={16} />
            <YAxis
              {...AXIS}
              width={40}
              tickFormatter={count}
              ticks={ticks}
              domain={[0, ticks.at(-1) ?? 0]}
            />
            <Tooltip
              cursor={{ fill: "var(--hover)" }}
              isAnimationActive={false}
              content={(props) => (
                <Hint {...(props as object)} head={day} format={(_key, value) => count(value)} />
              )}
            />
            <Bar
              dataKey="completed"
              name="Completed"
              stackId="runs"
              fill="var(--accent-solid)"
              isAnimationActive={false}
            />
            <Bar
              dataKey="failed"
              name="Failed"
              stackId="runs"
              fill="var(--bad-solid)"
              isAnimationActive={false}
            />
            {cancelled && (
              <Bar
                dataKey="cancelled"
                name="Cancelled"
                stackId="runs"
                fill="var(--line-strong)"
                isAnimationActive={false}
              />
            )}
          </BarChart>
        </ResponsiveContainer>
      </div>
      <Spoken
        caption="Backups by day"
        head={["Day", "Completed", "Failed", "Cancelled"]}
        rows={days.map((one) => [
          day(one.day),
          count(one.completed),
          count(one.failed),
          count(one.cancelled),
        ])}
      />
    </div>
  );
}

export function StorageChart({
  days,
}: {
  days: Array<{
    day: string;
    used_bytes: number;
    logical_bytes: number;
    dedup_ratio: number | null;
  }>;
}) {
  const ticks = sizeTicks(Math.max(...days.map((one) => one.used_bytes)));
  const ratios = countTicks(Math.max(1, ...days.map((one) => one.dedup_ratio ?? 0)));
  return (
    <div>
      <Legend
        items={[
          ["Storage used", "var(--accent-solid)"],
          ["Deduplication", "var(--ok)"],
        ]}
      />
      <div className="h-56" aria-hidden>
        <ResponsiveContainer width="100%" height="100%">
          <AreaChart accessibilityLayer={false} data={days} margin={MARGIN}>
            <CartesianGrid vertical={false} stroke="var(--line)" />
            <XAxis dataKey="day" tickFormatter={day} {...AXIS} minTickGap={28} />
            <YAxis
              yAxisId="size"
              {...AXIS}
              width={60}
              tickFormatter={tickSize}
              ticks={ticks}
              domain={[0, ticks.at(-1) ?? 0]}
            />
            <YAxis
              yAxisId="ratio"
              orientation="right"
              {...AXIS}
              width={40}
              tickFormatter={(value: number) => `${value}×`}
              ticks={ratios}
              domain={[0, ratios.at(-1) ?? 0]}
            />
            <Tooltip
              isAnimationActive={false}
              cursor={{ stroke: "var(--line-strong)" }}
              content={(props) => (
                <Hint
                  {...(props as object)}
                  head={day}
                  format={(key, value) =>
                    key === "dedup_ratio" ? ratio(value) : `${bytes(value)} (${exactBytes(value)})`
                  }
                />
              )}
            />
            <Area
              yAxisId="size"
              dataKey="used_bytes"
              name="Storage used"
              stroke="var(--accent-solid)"
              strokeWidth={1.75}
              fill="var(--accent-solid)"
              fillOpacity={0.12}
              isAnimationActive={false}
            />
            <Area
              yAxisId="ratio"
              dataKey="dedup_ratio"
              name="Deduplication"
              stroke="var(--ok)"
              strokeWidth={1.75}
              fill="none"
              isAnimationActive={false}
              connectNulls
            />
          </AreaChart>
        </ResponsiveContainer>
      </div>
      <Spoken
        caption="Storage by day"
        head={["Day", "Used", "Deduplication"]}
        rows={days.map((one) => [
          day(one.day),
          exactBytes(one.used_bytes),
          one.dedup_ratio === null ? "not measured" : ratio(one.dedup_ratio),
        ])}
      />
    </div>
  );
}

/** Throughput over the time of a run. `samples`: seconds since the start, bytes a second. */
export function ThroughputChart({
  samples,
  height = 160,
}: {
  samples: Array<[number, number]>;
  height?: number;
}) {
  const data = samples.map(([seconds, speed]) => ({ seconds, speed }));
  const ticks = sizeTicks(Math.max(0, ...samples.map((one) => one[1])));
  return (
    <div
      style={{ height }}
      role="img"
      aria-label={`Throughput, ${samples.length} samples, at most ${rate(Math.max(0, ...samples.map((one) => one[1])))}`}
    >
      <ResponsiveContainer width="100%" height="100%">
        <AreaChart accessibilityLayer={false} data={data} margin={MARGIN}>
          <CartesianGrid vertical={false} stroke="var(--line)" />
          <XAxis
            dataKey="seconds"
            type="number"
            domain={["dataMin", "dataMax"]}
            ticks={timeTicks(data.at(0)?.seconds ?? 0, data.at(-1)?.seconds ?? 0)}
            interval="preserveStart"
            tickFormatter={duration}
            {...AXIS}
            minTickGap={16}
          />
          <YAxis
            {...AXIS}
            width={72}
            tickFormatter={(value: number) => `${tickSize(value)}/s`}
            ticks={ticks}
            domain={[0, ticks.at(-1) ?? 0]}
          />
          <Tooltip
            isAnimationActive={false}
            cursor={{ stroke: "var(--line-strong)" }}
            content={(props) => (
              <Hint
                {...(props as object)}
                head={(text) => `After ${duration(Number(text))}`}
                format={(_key, value) => rate(value)}
              />
            )}
          />
          <Area
            dataKey="speed"
            name="Throughput"
            stroke="var(--accent-solid)"
            strokeWidth={1.75}
            fill="var(--accent-solid)"
            fillOpacity={0.12}
            isAnimationActive={false}
          />
        </AreaChart>
      </ResponsiveContainer>
    </div>
  );
}

/** A line without axes, for a live value. Times are milliseconds. */
export function Sparkline({
  points,
  label,
  format,
  max,
}: {
  points: Array<{ at: number; value: number }>;
  label: string;
  format: (value: number) => string;
  max?: number;
}) {
  return (
    <div
      className="h-12"
      role="img"
      aria-label={`${label}: ${points.length > 0 ? format(points.at(-1)?.value ?? 0) : "no values yet"}`}
    >
      <ResponsiveContainer width="100%" height="100%">
        <LineChart
          accessibilityLayer={false}
          data={points}
          margin={{ top: 4, right: 0, bottom: 2, left: 0 }}
        >
          <YAxis hide domain={[0, max ?? "auto"]} />
          <XAxis hide dataKey="at" type="number" domain={["dataMin", "dataMax"]} />
          <Tooltip
            isAnimationActive={false}
            cursor={{ stroke: "var(--line-strong)" }}
            content={(props) => (
              <Hint
                {...(props as object)}
                head={(text) => new Date(Number(text)).toLocaleTimeString("en-GB")}
                format={(_key, value) => format(value)}
              />
            )}
          />
          <Line
            dataKey="value"
            name={label}
            stroke="var(--accent-solid)"
            strokeWidth={1.75}
            dot={false}
            isAnimationActive={false}
          />
        </LineChart>
      </ResponsiveContainer>
    </div>
  );
}
