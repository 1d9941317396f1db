"use client";

import { useQuery } from "@tanstack/react-query";
import { useMemo, useState } from "react";
import { HiOutlineDownload, HiOutlinePause, HiOutlinePlay } from "react-icons/hi";
import { failureOf } from "@/api-client";
import { useDenied } from "@/features/session/session";
import { vmQuery } from "@/features/vms/queries";
import { useSelectedVm } from "@/features/vms/selection";
import { Tag } from "@/ui/badge";
import { Button } from "@/ui/button";
import { Card } from "@/ui/card";
import { FilterSelect, SearchField } from "@/ui/field";
import { Page, PageHeader, Toolbar } from "@/ui/page";
import { EmptyState, ErrorState, FilteredEmptyState, SkeletonLines } from "@/ui/states";
import { useSearchText, useUrlState } from "@/ui/url-state";
import { LogLines } from "./log-lines";
import { useLog } from "./use-log";

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
              <LogLines
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
