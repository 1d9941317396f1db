"use client";

import { useQuery } from "@tanstack/react-query";
import { HiOutlineDatabase, HiOutlineFolderOpen, HiOutlineSave } from "react-icons/hi";
import { api, failureOf, take } from "@/api-client";
import { useDenied } from "@/features/session/session";
import { repositoriesQuery } from "@/features/settings/repositories/queries";
import { useSelectedVm } from "@/features/vms/selection";
import { Button } from "@/ui/button";
import { Card } from "@/ui/card";
import { FilterSelect, SearchField } from "@/ui/field";
import { words } from "@/ui/format";
import { Page, PageHeader, Toolbar } from "@/ui/page";
import { Pager } from "@/ui/pager";
import { DataTable } from "@/ui/table";
import { useSearchText, useUrlState } from "@/ui/url-state";
import { usePages } from "@/ui/use-pages";
import { useNow } from "@/ui/values";
import { useBackupColumns } from "./backup-columns";
import { useStartBackup } from "./start-backup";

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
  const start = useStartBackup();
  const mayBackUp = useDenied("backup.run");
  const columns = useBackupColumns();
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
