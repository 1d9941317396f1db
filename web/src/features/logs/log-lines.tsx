"use client";

import { useVirtualizer } from "@tanstack/react-virtual";
import { useEffect, useRef, useState } from "react";
import { cx } from "@/ui/class-names";
import { clockTime, count, exactTime, shortDate } from "@/ui/format";
import { KEPT, type Line, type Log } from "./use-log";

const LEVELS: Record<Line["level"], string> = {
  debug: "text-ink-3",
  info: "text-accent",
  warning: "text-warn",
  error: "text-bad",
};
/** The lines that are in sight; each opens to all that is known of it. */
export function LogLines({
  log,
  onRun,
  onVm,
  onHold,
}: {
  log: Log;
  onRun: (id: string) => void;
  onVm: (id: string) => void;
  /** While somebody points at a line or has one open, new ones must not move it away. */
  onHold: (held: boolean) => void;
}) {
  const parent = useRef<HTMLDivElement>(null);
  const [opened, setOpened] = useState<number | null>(null);
  const [inside, setInside] = useState(false);
  const { lines, more, fetchingMore } = log;
  useEffect(() => onHold(inside || opened !== null), [onHold, inside, opened]);
  const rows = useVirtualizer({
    count: lines.length,
    getScrollElement: () => parent.current,
    estimateSize: () => 28,
    getItemKey: (index) => lines[index]?.seq ?? index,
    overscan: 20,
  });
  const items = rows.getVirtualItems();
  const lastShown = items.at(-1)?.index ?? 0;
  useEffect(() => {
    if (more && !fetchingMore && lastShown >= lines.length - 40) more();
  }, [more, fetchingMore, lastShown, lines.length]);
  return (
    <div
      ref={parent}
      className="scroll-thin min-h-0 flex-1 overflow-y-auto"
      onPointerEnter={() => setInside(true)}
      onPointerLeave={() => setInside(false)}
    >
      <ol
        aria-label="Log lines, newest first"
        style={{ height: rows.getTotalSize() }}
        className="relative"
      >
        {items.map((item) => {
          const line = lines[item.index];
          if (!line) return null;
          const open = opened === line.seq;
          const before = lines[item.index - 1];
          const newDay = !before || shortDate(before.at) !== shortDate(line.at);
          return (
            <li
              key={item.key}
              ref={rows.measureElement}
              data-index={item.index}
              className="absolute inset-x-0 top-0"
              style={{ transform: `translateY(${item.start}px)` }}
            >
              <button
                type="button"
                aria-expanded={open}
                onClick={() => setOpened(open ? null : line.seq)}
                className={cx(
                  "flex min-h-7 w-full flex-wrap items-baseline gap-x-3 px-4 py-1 text-left font-mono text-xs outline-offset-[-2px] hover:bg-hover sm:flex-nowrap",
                  open && "bg-hover",
                )}
              >
                <time
                  dateTime={line.at}
                  title={exactTime(line.at)}
                  className="flex-none tabular-nums text-ink-3"
                >
                  <span
                    className={cx("hidden w-14 text-right sm:inline-block", !newDay && "invisible")}
                  >
                    {shortDate(line.at)}
                  </span>{" "}
                  {clockTime(line.at)}
                </time>
                <span className={cx("w-14 flex-none font-semibold", LEVELS[line.level])}>
                  {line.level}
                </span>
                <span
                  className={cx(
                    "order-last min-w-0 flex-none basis-full sm:order-none sm:flex-1 sm:basis-0",
                    open ? "break-words whitespace-pre-wrap" : "truncate",
                  )}
                >
                  {line.message}
                </span>
                <span
                  className="min-w-0 flex-1 basis-0 truncate text-right text-ink-3 sm:max-w-40 sm:flex-none sm:basis-auto md:max-w-56"
                  title={line.vm_name || line.source}
                >
                  {line.vm_name || line.source}
                </span>
              </button>
              {open && (
                <div className="border-b border-line bg-sunken/60 px-4 py-2.5 font-mono text-xs">
                  <dl className="grid grid-cols-[max-content_minmax(0,1fr)] gap-x-4 gap-y-1">
                    <dt className="text-ink-3">number</dt>
                    <dd>{count(line.seq)}</dd>
                    <dt className="text-ink-3">source</dt>
                    <dd>{line.source}</dd>
                    {line.vm_name && (
                      <>
                        <dt className="text-ink-3">VM</dt>
                        <dd className="break-all">{line.vm_name}</dd>
                      </>
                    )}
                    {Object.entries(line.fields).map(([key, value]) => (
                      <div key={key} className="contents">
                        <dt className="text-ink-3">{key}</dt>
                        <dd className="break-all">
                          {typeof value === "string" ? value : JSON.stringify(value)}
                        </dd>
                      </div>
                    ))}
                  </dl>
                  <div className="mt-2 flex gap-4 font-sans">
                    {line.run_id && (
                      <button
                        type="button"
                        className="text-accent hover:underline"
                        onClick={() => onRun(line.run_id ?? "")}
                      >
                        Only this run
                      </button>
                    )}
                    {line.vm_id && (
                      <button
                        type="button"
                        className="text-accent hover:underline"
                        onClick={() => onVm(line.vm_id ?? "")}
                      >
                        Only this VM
                      </button>
                    )}
                  </div>
                </div>
              )}
            </li>
          );
        })}
      </ol>
      {!more && !fetchingMore && (
        <p className="px-4 py-2 text-center text-xs text-ink-3">
          {lines.length >= KEPT
            ? "Older lines: narrow the filters, or export"
            : "The beginning of the log"}
        </p>
      )}
    </div>
  );
}
