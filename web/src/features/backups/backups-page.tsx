"use client";

import { useQuery } from "@tanstack/react-query";
import Link from "next/link";
import { useRouter } from "next/navigation";
import {
  HiOutlineDatabase,
  HiOutlineFolderOpen,
  HiOutlineRefresh,
  HiOutlineReply,
  HiOutlineSave,
  HiOutlineXCircle,
} from "react-icons/hi";
import { api, failureOf, type Schemas, take } from "@/api-client";
import { RunBadge, type RunBrief, RunProgressLine } from "@/features/runs/run-state";
import { useRunActions } from "@/features/runs/runs-table";
import { useDenied } from "@/features/session/session";
import { repositoriesQuery } from "@/features/settings/repositories/queries";
import { useSelectedVm } from "@/features/vms/selection";
import { Button, RowAction } from "@/ui/button";
import { Card } from "@/ui/card";
import { FilterSelect, SearchField } from "@/ui/field";
import { sentence, words } from "@/ui/format";
import { Page, PageHeader, Toolbar } from "@/ui/page";
import { Pager } from "@/ui/pager";
import { type Column, DataTable } from "@/ui/table";
import { useSearchText, useUrlState } from "@/ui/url-state";
import { usePages } from "@/ui/use-pages";
import { Ago, Bytes, Missing, useNow } from "@/ui/values";
import { PointBadges } from "./point-badges";
import { useStartBackup } from "./start-backup";

type Job = Schemas["BackupJob"];

/** A backup as a run, for what shows progress of any run. */
export function runOf(job: Job): RunBrief {
  return { ...job, kind: "backup", state: job.status } as unknown as RunBrief;
}

export function BackupsPage() {
  const start = useStartBackup();
  const mayBackUp = useDenied("backup.run");
  const mayBrowse = useDenied("files.read");
  return (
    <Page>
      <PageHeader
        title="Backups"
        description="Backup operations and recovery"
        actions={
          <>
            <Button icon={HiOutlineDatabase} href="/settings/repositories">
              Repositories
            </Button>
            <Button icon={HiOutlineFolderOpen} href="/backups/restore" disabledReason={mayBrowse}>
              Browse Files
            </Button>
            <Button
              icon={HiOutlineSave}
              variant="primary"
              onClick={() => start.ask()}
              disabledReason={mayBackUp}
            >
              Start Backup
            </Button>
          </>
        }
      />
      <Card flush>
        <BackupJobsList />
      </Card>
    </Page>
  );
}

function BackupJobsList() {
  const { get, set } = useUrlState();
  const [text, setText, name] = useSearchText();
  const [, select] = useSelectedVm();
  const router = useRouter();
  const start = useStartBackup();
  const mayBackUp = useDenied("backup.run");
  const mayBrowse = useDenied("files.read");
  const mayRestore = useDenied("restore.run");
  const { cancel, retry } = useRunActions();
  const repositories = useQuery(repositoriesQuery());
  const filter = {
    q: name || undefined,
    since: useSince(get("period")),
    backup_type: get("type") || undefined,
    status: get("status") || undefined,
    repository_id: get("repository") || undefined,
  };
  const filtered = Object.values(filter).some(Boolean);
  const sort = { by: get("sort") || "created_at", descending: get("order") !== "asc" };
  const list = usePages({
    key: ["backups", "list", filter, sort],
    fetchPage: async (limit, cursor) => {
      const page = await take(
        api.GET("/api/v1/backup/list", {
          params: {
            query: {
              ...filter,
              limit,
              cursor,
              sort: sort.by,
              order: sort.descending ? "desc" : "asc",
            } as never,
          },
        }),
      );
      return { items: page.backups, total: page.total, next_cursor: page.next_cursor ?? null };
    },
  });
  const clear = () => {
    setText("");
    set({ q: null, type: null, status: null, repository: null, period: null });
  };
  const columns: Column<Job>[] = [
    {
      key: "vm",
      title: "VM Name",
      sort: "vm_name",
      cell: (job) => (
        <>
          <Link
            href={`/backups/${encodeURIComponent(job.id)}${job.vm_id ? `?vm=${encodeURIComponent(job.vm_id)}` : ""}`}
            prefetch={false}
            className="block truncate rounded font-medium hover:underline"
            title={job.vm_name}
          >
            {job.vm_name}
          </Link>
          <span className="block truncate text-xs text-ink-3 @2xl:hidden">
            <Ago time={job.started_at ?? job.created_at} /> · {words(job.backup_type)}
          </span>
        </>
      ),
    },
    {
      key: "type",
      title: "Backup Type",
      width: "w-28",
      from: "md",
      cell: (job) => words(job.backup_type),
    },
    {
      key: "repository",
      title: "Repository",
      width: "w-36",
      from: "lg",
      cell: (job) => job.repository_name || "–",
    },
    {
      key: "status",
      title: "Status",
      width: "w-28",
      cell: (job) => <RunBadge state={job.status} title={job.error_message ?? undefined} />,
    },
    {
      key: "progress",
      title: "Progress",
      width: "w-44",
      from: "sm",
      cell: (job) => <Progressed job={job} />,
    },
    {
      key: "started",
      title: "Started",
      sort: "created_at",
      width: "w-28",
      from: "md",
      cell: (job) => <Ago time={job.started_at ?? job.created_at} />,
    },
    {
      key: "actions",
      title: "Actions",
      width: "w-24 @4xl:w-48",
      align: "right",
      cell: (job) => (
        <span className="inline-flex gap-0.5">
          {job.can_cancel && (
            <RowAction
              icon={HiOutlineXCircle}
              label="Cancel"
              of={job.vm_name}
              onClick={() => cancel.mutate(job.id)}
              disabledReason={mayBackUp}
            />
          )}
          {job.can_retry && (
            <RowAction
              icon={HiOutlineRefresh}
              label="Retry"
              of={job.vm_name}
              onClick={() => retry.mutate(job.id)}
              disabledReason={mayBackUp}
            />
          )}
          {job.can_browse && (
            <RowAction
              icon={HiOutlineFolderOpen}
              label="Files"
              of={job.vm_name}
              onClick={() => router.push(`/backups/restore?backup=${encodeURIComponent(job.id)}`)}
              disabledReason={mayBrowse}
            />
          )}
          {job.can_browse && (
            <RowAction
              icon={HiOutlineReply}
              label="Restore"
              of={job.vm_name}
              onClick={() => router.push(`/backups/${encodeURIComponent(job.id)}?restore=vm`)}
              disabledReason={mayRestore}
            />
          )}
        </span>
      ),
    },
  ];
  return (
    <>
      <Toolbar>
        <SearchField
          label="VM name"
          value={text}
          onChange={setText}
          className="min-w-44 flex-1 sm:max-w-72"
        />
        <FilterSelect
          label="Status"
          value={get("status")}
          onChange={(value) => set({ status: value })}
          options={["pending", "running", "completed", "failed", "cancelled"].map((value) => ({
            value,
            label: words(value),
          }))}
        />
        <FilterSelect
          label="Type"
          value={get("type")}
          onChange={(value) => set({ type: value })}
          options={["full", "incremental"].map((value) => ({ value, label: words(value) }))}
        />
        {(repositories.data?.total ?? 0) > 1 && (
          <FilterSelect
            label="Repository"
            value={get("repository")}
            onChange={(value) => set({ repository: value })}
            options={(repositories.data?.repositories ?? []).map((one) => ({
              value: one.id,
              label: one.name,
            }))}
          />
        )}
        <FilterSelect
          label="Period"
          value={get("period")}
          onChange={(value) => set({ period: value })}
          options={PERIODS}
        />
        {filtered && (
          <Button size="xs" variant="ghost" onClick={clear}>
            Clear
          </Button>
        )}
      </Toolbar>
      <DataTable
        what="backups"
        columns={columns}
        rows={list.rows}
        rowKey={(job) => job.id}
        sort={sort}
        onSort={(next) =>
          set({
            sort: next.by === "created_at" ? null : next.by,
            order: next.descending ? null : "asc",
          })
        }
        onOpen={(job) => (job.vm_id ? select(job.vm_id) : undefined)}
        failure={list.error ? failureOf(list.error) : null}
        onRetry={() => list.refetch()}
        filtered={filtered}
        onClearFilters={clear}
        refreshing={list.refreshing}
        empty={{
          title: "No backups yet",
          text: "Every backup, running or done, is listed here.",
          action: (
            <Button variant="primary" onClick={() => start.ask()} disabledReason={mayBackUp}>
              Start Backup
            </Button>
          ),
        }}
      />
      <Pager {...list.pager} />
    </>
  );
}

const PERIODS = [
  { value: "1", label: "Last 24 hours" },
  { value: "7", label: "Last 7 days" },
  { value: "30", label: "Last 30 days" },
];

/** The beginning of the period, to the minute, so that it does not make a new query each time. */
function useSince(days: string): string | undefined {
  const now = useNow();
  if (!PERIODS.some((one) => one.value === days)) return undefined;
  const since = new Date(now.getTime() - Number(days) * 86_400_000);
  since.setSeconds(0, 0);
  return since.toISOString();
}

function Progressed({ job }: { job: Job }) {
  if (job.status === "running" || job.status === "pending")
    return <RunProgressLine run={runOf(job)} />;
  if (job.status === "failed")
    return (
      <span className="block truncate text-ink-3" title={job.error_message ?? undefined}>
        {sentence(job.error_message ?? "")}
      </span>
    );
  if (job.status !== "completed") return <Missing title="It was cancelled" />;
  return (
    <span className="flex min-w-0 items-center gap-1.5 text-ink-3">
      {!job.damaged && (
        <span className="truncate">
          <Bytes value={job.stored_bytes} /> stored
        </span>
      )}
      <PointBadges point={job} />
    </span>
  );
}
