"use client";

import { useMutation, useQueryClient } from "@tanstack/react-query";
import { useRouter } from "next/navigation";
import { useMemo } from "react";
import { HiOutlineRefresh, HiOutlineXCircle } from "react-icons/hi";
import { api, failureOf, take } from "@/api-client";
import { useDenials } from "@/features/session/session";
import { RowAction } from "@/ui/button";
import { sentence } from "@/ui/format";
import { Pager } from "@/ui/pager";
import { ACTIONS, type Column, DataTable } from "@/ui/table";
import { useToast } from "@/ui/toast";
import { usePages } from "@/ui/use-pages";
import { Ago, Duration, Truncated } from "@/ui/values";
import {
  kindWords,
  permissionFor,
  RunBadge,
  type RunBrief,
  RunProgressLine,
  runName,
} from "./run-state";

export function useRunActions() {
  const client = useQueryClient();
  const toast = useToast();
  const settled = () => {
    for (const key of ["runs", "backups", "vms", "overview", "monitoring"])
      void client.invalidateQueries({ queryKey: [key] });
  };
  const cancel = useMutation({
    mutationFn: (id: string) =>
      take(api.POST("/api/v1/runs/{run_id}/cancel", { params: { path: { run_id: id } } })),
    onSuccess: () => toast({ tone: "info", title: "The run is being cancelled" }),
    onError: (error) =>
      toast({ tone: "bad", title: "It could not be cancelled", text: failureOf(error).detail }),
    onSettled: settled,
  });
  const retry = useMutation({
    mutationFn: (id: string) =>
      take(api.POST("/api/v1/runs/{run_id}/retry", { params: { path: { run_id: id } } })),
    onSuccess: () => toast({ tone: "ok", title: "It was queued again" }),
    onError: (error) =>
      toast({ tone: "bad", title: "It could not be queued again", text: failureOf(error).detail }),
    onSettled: settled,
  });
  return { cancel, retry };
}

/** Runs of one VM, of one repository, or all. */
export function RunsTable({
  vmId,
  repositoryId,
  state,
}: {
  vmId?: string;
  repositoryId?: string;
  state?: RunBrief["state"];
}) {
  const router = useRouter();
  const denied = useDenials();
  const actions = useRunActions();
  const cancel = actions.cancel.mutate;
  const retry = actions.retry.mutate;
  const list = usePages({
    key: ["runs", "list", vmId, repositoryId, state],
    fetchPage: (limit, cursor) =>
      take(
        api.GET("/api/v1/runs", {
          params: {
            query: { limit, cursor, vm_id: vmId, repository_id: repositoryId, state } as never,
          },
        }),
      ),
    pageSize: 25,
  });
  const columns = useMemo(
    (): Column<RunBrief>[] => [
      {
        key: "kind",
        title: "What",
        cell: (run) => (
          <>
            <Truncated className="font-medium">{kindWords(run.kind)}</Truncated>
            {!vmId && run.vm_name && (
              <Truncated className="text-xs text-ink-3 @2xl:hidden">{run.vm_name}</Truncated>
            )}
          </>
        ),
      },
      ...(vmId
        ? []
        : [
            {
              key: "vm",
              title: "Virtual machine",
              from: "md" as const,
              cell: (run: RunBrief) => <Truncated>{run.vm_name || "–"}</Truncated>,
            },
          ]),
      {
        key: "state",
        title: "Status",
        width: "w-40",
        cell: (run) =>
          run.state === "running" || run.state === "pending" ? (
            <RunProgressLine run={run} />
          ) : (
            <RunBadge state={run.state} title={run.error_message ?? undefined} />
          ),
      },
      {
        key: "created",
        title: "Started",
        width: "w-28",
        from: "sm",
        cell: (run) => <Ago time={run.started_at ?? run.created_at} />,
      },
      {
        key: "took",
        title: "Took",
        width: "w-24",
        align: "right",
        from: "md",
        cell: (run) => (
          <Duration
            seconds={
              run.started_at && run.completed_at
                ? (Date.parse(run.completed_at) - Date.parse(run.started_at)) / 1000
                : null
            }
          />
        ),
      },
      {
        key: "error",
        title: "Message",
        width: "w-[30%]",
        from: "lg",
        cell: (run) => (
          <span className="block truncate text-ink-3" title={run.error_message ?? undefined}>
            {sentence(run.error_message ?? "")}
          </span>
        ),
      },
      {
        ...ACTIONS,
        width: "w-20 @4xl:w-28",
        cell: (run) =>
          run.state === "failed" ? (
            <RowAction
              icon={HiOutlineRefresh}
              label="Retry"
              of={runName(run)}
              onClick={() => retry(run.id)}
              disabledReason={denied(permissionFor(run.kind))}
            />
          ) : run.state === "running" || run.state === "pending" ? (
            <RowAction
              icon={HiOutlineXCircle}
              label="Cancel"
              of={runName(run)}
              onClick={() => cancel(run.id)}
              disabledReason={denied(permissionFor(run.kind))}
            />
          ) : null,
      },
    ],
    [vmId, denied, cancel, retry],
  );
  return (
    <>
      <DataTable
        what="runs"
        columns={columns}
        rows={list.rows}
        rowKey={(run) => run.id}
        failure={list.error ? failureOf(list.error) : null}
        onRetry={() => list.refetch()}
        refreshing={list.refreshing}
        onOpen={(run) =>
          router.push(
            run.kind === "backup"
              ? `/backups/${encodeURIComponent(run.id)}`
              : `/monitoring/runs/${encodeURIComponent(run.id)}`,
          )
        }
        empty={{ title: "No runs yet", text: "Backups, restores and maintenance are listed here." }}
      />
      <Pager {...list.pager} />
    </>
  );
}
