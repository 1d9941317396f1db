"use client";

import { useInfiniteQuery, useQuery } from "@tanstack/react-query";
import { useVirtualizer } from "@tanstack/react-virtual";
import { useEffect, useMemo, useRef, useState } from "react";
import { HiOutlineDownload, HiOutlinePause, HiOutlinePlay } from "react-icons/hi";
import { api, failureOf, type Schemas, take } from "@/api-client";
import { useDenied } from "@/features/session/session";
import { vmQuery } from "@/features/vms/queries";
import { useSelectedVm } from "@/features/vms/selection";
import { Tag } from "@/ui/badge";
import { Button } from "@/ui/button";
import { Card } from "@/ui/card";
import { cx } from "@/ui/class-names";
import { FilterSelect, SearchField } from "@/ui/field";
import { clockTime, count, exactTime, shortDate } from "@/ui/format";
import { Page, PageHeader, Toolbar } from "@/ui/page";
import { EmptyState, ErrorState, FilteredEmptyState, SkeletonLines } from "@/ui/states";
import { useSearchText, useUrlState } from "@/ui/url-state";

type Line = Schemas["LogInfo"];
const PAGE = 200;
const KEPT = 5000;
const TAIL_MS = 2000;

const LEVELS: Record<Line["level"], string> = {
  debug: "text-ink-3",
  info: "text-accent",
  warning: "text-warn",
  error: "text-bad",
};
const SPANS: Record<string, [string, number]> = {
  "15m": ["Last 15 minutes", 15],
  "1h": ["Last hour", 60],
  "24h": ["Last 24 hours", 24 * 60],
  "7d": ["Last 7 days", 7 * 24 * 60],
};

function useFilter() {
  const { get, set } = useUrlState();
  const [text, setText, q] = useSearchText();
  const level = get("level");
  const run = get("run");
  const vm = get("log_vm");
  const span = get("span");
  // The start is fixed when the span is chosen, so that pages fit together.
  const since = useMemo(() => {
    const minutes = SPANS[span]?.[1];
    return minutes ? new Date(Date.now() - minutes * 60_000).toISOString() : undefined;
  }, [span]);
  const query = {
    q: q || undefined,
    level: level || undefined,
    run_id: run || undefined,
    vm_id: vm || undefined,
    since,
  };
  return { query, text, setText, level, run, vm, span, set };
}

export function LogsPage() {
  const filter = useFilter();
  const denied = useDenied("logs.read");
  const [live, setLive] = useState(true);
  const [held, setHeld] = useState(false);
  const [selected] = useSelectedVm();
  const vm = useQuery({ ...vmQuery(filter.vm), enabled: Boolean(filter.vm) });
  const log = useLog(filter.query, live && !held);
  const filtered = Object.values(filter.query).some(Boolean);
  const clear = () => {
    filter.setText("");
    filter.set({ q: null, level: null, run: null, log_vm: null, span: null });
  };
  const exported = new URLSearchParams(
    Object.entries(filter.query).filter((entry): entry is [string, string] => Boolean(entry[1])),
  );
  return (
    <div className="flex h-full flex-col">
      <Page>
        <PageHeader
          title="Logs"
          actions={
            <>
              <Button
                icon={live ? HiOutlinePause : HiOutlinePlay}
                onClick={() => setLive(!live)}
                aria-pressed={live}
              >
                {live ? "Pause" : "Follow"}
              </Button>
              <Button
                icon={HiOutlineDownload}
                disabledReason={denied}
                onClick={() => window.location.assign(`/api/v1/logs/export?${exported}`)}
              >
                Export
              </Button>
            </>
          }
        />
      </Page>
      <div className="mx-auto -mt-6 flex min-h-0 w-full max-w-[1440px] flex-1 flex-col px-4 pb-4 sm:px-6">
        <Card
          flush
          className="flex min-h-0 flex-1 flex-col overflow-hidden [&>div]:min-h-0 [&>div]:flex-1"
        >
          <div className="flex h-full min-h-0 flex-col">
            <Toolbar>
              <SearchField
                label="Search in messages"
                value={filter.text}
                onChange={filter.setText}
                className="min-w-44 flex-1 sm:max-w-72"
              />
              <FilterSelect
                label="Level"
                value={filter.level}
                onChange={(value) => filter.set({ level: value })}
                options={[
                  { value: "info", label: "Info and above" },
                  { value: "warning", label: "Warnings and errors" },
                  { value: "error", label: "Errors" },
                ]}
              />
              <FilterSelect
                label="Time"
                value={filter.span}
                onChange={(value) => filter.set({ span: value })}
                options={Object.entries(SPANS).map(([value, [label]]) => ({ value, label }))}
              />
              {filter.vm ? (
                <Tag onRemove={() => filter.set({ log_vm: null })}>{vm.data?.name ?? "One VM"}</Tag>
              ) : (
                selected && (
                  <Button
                    size="xs"
                    variant="ghost"
                    onClick={() => filter.set({ log_vm: selected })}
                  >
                    Only the chosen VM
                  </Button>
                )
              )}
              {filter.run && <Tag onRemove={() => filter.set({ run: null })}>One run</Tag>}
              {filtered && (
                <Button size="xs" variant="ghost" onClick={clear}>
                  Clear
                </Button>
              )}
              <span className="ml-auto text-xs text-ink-3" role="status">
                {live && held ? (
                  "Held while you read"
                ) : live ? (
                  <span className="inline-flex items-center gap-1.5">
                    <span className="size-1.5 animate-pulse rounded-full bg-ok" aria-hidden />{" "}
                    Following
                  </span>
                ) : (
                  "Paused"
                )}
              </span>
            </Toolbar>
            {log.error && log.lines.length === 0 ? (
              <ErrorState failure={failureOf(log.error)} onRetry={log.retry} />
            ) : log.loading ? (
              <div className="p-4">
                <SkeletonLines lines={12} label="Loading the log" />
              </div>
            ) : log.lines.length === 0 ? (
              filtered ? (
                <FilteredEmptyState what="log lines" onClear={clear} />
              ) : (
                <EmptyState title="Nothing was logged yet" />
              )
            ) : (
              <Lines
                onHold={setHeld}
                log={log}
                onRun={(run) => filter.set({ run })}
                onVm={(id) => filter.set({ log_vm: id })}
              />
            )}
          </div>
        </Card>
      </div>
    </div>
  );
}

type LogQuery = ReturnType<typeof useFilter>["query"];

function getLines(
  query: LogQuery & { cursor?: string | undefined; after_seq?: number | undefined },
) {
  return take(api.GET("/api/v1/logs", { params: { query: { limit: PAGE, ...query } as never } }));
}

/** Newest first: older pages on demand and, while following, what came since. */
function useLog(query: LogQuery, live: boolean) {
  const name = JSON.stringify(query);
  const pages = useInfiniteQuery({
    queryKey: ["log-pages", name],
    queryFn: ({ pageParam }) => getLines({ ...query, cursor: pageParam }),
    initialPageParam: undefined as string | undefined,
    getNextPageParam: (last) => last.next_cursor ?? undefined,
    staleTime: Number.POSITIVE_INFINITY,
    gcTime: 0,
    refetchOnWindowFocus: false,
  });
  const [newer, setNewer] = useState<{ name: string; lines: Line[] }>({ name, lines: [] });
  const base = pages.data?.pages[0]?.newest_seq;
  const fresh = newer.name === name ? newer.lines : [];
  const after = Math.max(base ?? 0, fresh[0]?.seq ?? 0);
  const afterRef = useRef(after);
  afterRef.current = after;
  const ready = base !== undefined;
  useEffect(() => {
    if (!live || !ready) return;
    let stopped = false;
    const timer = setInterval(() => {
      if (document.hidden) return;
      getLines({ ...(JSON.parse(name) as LogQuery), after_seq: afterRef.current }).then(
        (page) => {
          if (stopped || page.entries.length === 0) return;
          const sorted = [...page.entries].sort((a, b) => b.seq - a.seq);
          setNewer((old) => {
            const known = old.name === name ? old.lines : [];
            const top = known[0]?.seq ?? 0;
            return {
              name,
              lines: [...sorted.filter((line) => line.seq > top), ...known].slice(0, KEPT),
            };
          });
        },
        () => undefined, // the banner tells of a lost connection; the next turn tries again
      );
    }, TAIL_MS);
    return () => {
      stopped = true;
      clearInterval(timer);
    };
  }, [live, ready, name]);
  const older = useMemo(
    () => pages.data?.pages.flatMap((page) => page.entries) ?? [],
    [pages.data],
  );
  return {
    lines: useMemo(() => [...fresh, ...older], [fresh, older]),
    error: pages.error,
    loading: pages.isPending,
    retry: () => void pages.refetch(),
    more: pages.hasNextPage && older.length < KEPT ? () => void pages.fetchNextPage() : null,
    fetchingMore: pages.isFetchingNextPage,
  };
}

function Lines({
  log,
  onRun,
  onVm,
  onHold,
}: {
  log: ReturnType<typeof useLog>;
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
                  "flex min-h-7 w-full items-baseline gap-3 px-4 py-1 text-left font-mono text-xs outline-offset-[-2px] hover:bg-hover",
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
                    "min-w-0 flex-1",
                    open ? "break-words whitespace-pre-wrap" : "truncate",
                  )}
                >
                  {line.message}
                </span>
                <span
                  className="hidden max-w-56 flex-none truncate text-ink-3 md:block"
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
