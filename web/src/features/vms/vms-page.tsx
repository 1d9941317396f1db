"use client";

import { useQuery } from "@tanstack/react-query";
import Link from "next/link";
import { HiOutlineViewGrid, HiOutlineViewList } from "react-icons/hi";
import { failureOf } from "@/api-client";
import { RunProgressLine } from "@/features/runs/run-state";
import { platformsQuery } from "@/features/settings/platforms/queries";
import { Tag } from "@/ui/badge";
import { Button } from "@/ui/button";
import { Card } from "@/ui/card";
import { cx } from "@/ui/class-names";
import { FilterSelect, SearchField } from "@/ui/field";
import { count } from "@/ui/format";
import { Page, PageHeader, Toolbar } from "@/ui/page";
import { Pager } from "@/ui/pager";
import { EmptyState, ErrorState, FilteredEmptyState, placeholders, Skeleton } from "@/ui/states";
import { ACTIONS, type Column, DataTable } from "@/ui/table";
import { Segments } from "@/ui/tabs";
import { useKept, useSearchText, useUrlState } from "@/ui/url-state";
import { usePages } from "@/ui/use-pages";
import { Ago, Bytes, Truncated } from "@/ui/values";
import { POWERS, PowerStatus, PROTECTIONS, ProtectionBadge, ProtectionStatus } from "./protection";
import { listVms, type Vm, type VmFilter } from "./queries";
import { useSelectedVm } from "./selection";
import { VmRowActions } from "./vm-buttons";

const FILTERS = ["platform", "power", "protection", "tag"] as const;

export function VmsPage() {
  const { get, set } = useUrlState();
  const [text, setText, q] = useSearchText();
  const [view, setView] = useKept("vms.view", "table");
  const [selected, select] = useSelectedVm();
  const platforms = useQuery(platformsQuery());
  const filter: VmFilter = {
    q,
    platform: get("platform"),
    power: get("power"),
    protection: get("protection"),
    tag: get("tag"),
  };
  const sort = { by: get("sort") || "name", descending: get("order") === "desc" };
  const list = usePages({
    key: ["vms", "list", filter, sort],
    fetchPage: (limit, cursor) => listVms(filter, sort, limit, cursor),
    refetchInterval: 60_000,
  });
  const filtered = Object.values(filter).some(Boolean);
  const clear = () => {
    setText("");
    set({ q: null, ...Object.fromEntries(FILTERS.map((name) => [name, null])) });
  };
  const failure = list.error ? failureOf(list.error) : null;
  const empty = {
    title: "No virtual machines yet",
    text: "Discover what your platforms have, then add what you want to protect.",
    action: (
      <Button variant="primary" href="/discovery">
        Discover virtual machines
      </Button>
    ),
  };
  return (
    <Page>
      <PageHeader
        title="Virtual Machines"
        badge={
          list.total !== undefined && (
            <span className="text-sm tabular-nums text-ink-3">{count(list.total)}</span>
          )
        }
        actions={<Button href="/discovery">Add virtual machines</Button>}
      />
      <Card flush>
        <Toolbar>
          <SearchField
            label="Search by name"
            value={text}
            onChange={setText}
            className="min-w-44 flex-1 sm:max-w-72"
          />
          <FilterSelect
            label="Protection"
            value={filter.protection}
            onChange={(value) => set({ protection: value })}
            options={PROTECTIONS}
          />
          <FilterSelect
            label="Power"
            value={filter.power}
            onChange={(value) => set({ power: value })}
            options={POWERS}
          />
          {(platforms.data?.items.length ?? 0) > 1 && (
            <FilterSelect
              label="Platform"
              value={filter.platform}
              onChange={(value) => set({ platform: value })}
              options={(platforms.data?.items ?? []).map((one) => ({
                value: one.id,
                label: one.name,
              }))}
            />
          )}
          {filter.tag && <Tag onRemove={() => set({ tag: null })}>{filter.tag}</Tag>}
          {filtered && (
            <Button size="xs" variant="ghost" onClick={clear}>
              Clear
            </Button>
          )}
          <span className="ml-auto">
            <Segments
              label="View"
              current={view === "cards" ? "cards" : "table"}
              onChange={setView}
              items={[
                { key: "table", title: "Table", icon: HiOutlineViewList },
                { key: "cards", title: "Cards", icon: HiOutlineViewGrid },
              ]}
            />
          </span>
        </Toolbar>
        {view === "cards" ? (
          failure && !list.rows ? (
            <ErrorState failure={failure} onRetry={() => list.refetch()} />
          ) : list.rows?.length === 0 ? (
            filtered ? (
              <FilteredEmptyState what="virtual machines" onClear={clear} />
            ) : (
              <EmptyState title={empty.title} action={empty.action}>
                {empty.text}
              </EmptyState>
            )
          ) : (
            <VmCards vms={list.rows} selected={selected} onSelect={select} />
          )
        ) : (
          <DataTable
            what="virtual machines"
            columns={COLUMNS}
            rows={list.rows}
            rowKey={(vm) => vm.id}
            sort={sort}
            onSort={(next) =>
              set({
                sort: next.by === "name" ? null : next.by,
                order: next.descending ? "desc" : null,
              })
            }
            onOpen={(vm) => select(vm.id)}
            currentKey={selected}
            failure={failure}
            onRetry={() => list.refetch()}
            filtered={filtered}
            onClearFilters={clear}
            refreshing={list.refreshing}
            empty={empty}
            tall
          />
        )}
        <Pager {...list.pager} />
      </Card>
    </Page>
  );
}

const COLUMNS: Column<Vm>[] = [
  {
    key: "name",
    title: "Name",
    sort: "name",
    cell: (vm) => (
      <div className="min-w-0">
        <Link
          href={`/virtual-machines/${encodeURIComponent(vm.id)}?vm=${encodeURIComponent(vm.id)}`}
          prefetch={false}
          className="block truncate rounded font-medium hover:underline"
          title={vm.name}
        >
          {vm.name}
        </Link>
        <div className="truncate text-xs text-ink-3">
          {vm.present
            ? vm.platform_name || "Known from its backups"
            : `Not on ${vm.platform_name} any more`}
          {vm.tags.length > 0 && ` · ${vm.tags.join(", ")}`}
        </div>
      </div>
    ),
  },
  {
    key: "protection",
    title: "Protection",
    width: "w-30",
    cell: (vm) => <ProtectionStatus protection={vm.protection} />,
  },
  {
    key: "last",
    title: "Last backup",
    sort: "last_backup_at",
    width: "w-44",
    from: "sm",
    cell: (vm) =>
      vm.active_run ? <RunProgressLine run={vm.active_run} /> : <Ago time={vm.last_backup_at} />,
  },
  {
    key: "points",
    title: "Points",
    width: "w-20",
    from: "lg",
    align: "right",
    cell: (vm) => <span className="tabular-nums">{vm.point_count}</span>,
  },
  {
    key: "stored",
    title: "Stored",
    sort: "stored_bytes",
    width: "w-24",
    from: "lg",
    align: "right",
    cell: (vm) => <Bytes value={vm.stored_bytes} />,
  },
  {
    key: "size",
    title: "Size",
    sort: "size_bytes",
    width: "w-24",
    from: "md",
    align: "right",
    cell: (vm) => <Bytes value={vm.size_bytes} />,
  },
  {
    key: "power",
    title: "Power",
    width: "w-28",
    from: "lg",
    cell: (vm) => <PowerStatus power={vm.power} />,
  },
  {
    ...ACTIONS,
    width: "w-24 @4xl:w-56",
    cell: (vm) => (
      <span className="inline-flex gap-0.5">
        <VmRowActions vm={vm} />
      </span>
    ),
  },
];

function VmCards({
  vms,
  selected,
  onSelect,
}: {
  vms: Vm[] | undefined;
  selected: string | null;
  onSelect: (id: string) => void;
}) {
  return (
    <ul className="grid grid-cols-[repeat(auto-fill,minmax(17rem,1fr))] gap-3 p-4">
      {vms
        ? vms.map((vm) => (
            <li
              key={vm.id}
              className={cx(
                "@container flex flex-col rounded-lg border bg-surface transition-colors",
                vm.id === selected ? "border-accent" : "border-line hover:border-line-strong",
              )}
            >
              <button
                type="button"
                className="flex-1 rounded-t-lg px-3.5 pt-3 pb-2.5 text-left"
                onClick={() => onSelect(vm.id)}
              >
                <span className="flex items-center gap-2">
                  <span className="min-w-0 flex-1 truncate font-medium" title={vm.name}>
                    {vm.name}
                  </span>
                  <ProtectionBadge protection={vm.protection} />
                </span>
                <Truncated className="mt-0.5 text-xs text-ink-3">
                  {[vm.platform_name, ...vm.tags].filter(Boolean).join(" · ") ||
                    "Known from its backups"}
                </Truncated>
                <span className="mt-3 block h-9">
                  {vm.active_run ? (
                    <RunProgressLine run={vm.active_run} />
                  ) : (
                    <span className="flex justify-between text-xs">
                      <span>
                        <span className="block text-ink-3">Last backup</span>
                        <Ago time={vm.last_backup_at} />
                      </span>
                      <span>
                        <span className="block text-ink-3">Points</span>
                        <span className="tabular-nums">{vm.point_count}</span>
                      </span>
                      <span className="text-right">
                        <span className="block text-ink-3">Size</span>
                        <Bytes value={vm.size_bytes} />
                      </span>
                    </span>
                  )}
                </span>
              </button>
              <div className="flex items-center gap-1 border-t border-line px-2 py-1.5 text-xs">
                <span className="flex-1 pl-1.5">
                  <PowerStatus power={vm.power} />
                </span>
                <VmRowActions vm={vm} />
              </div>
            </li>
          ))
        : placeholders(9).map((place) => (
            <li key={place} className="flex flex-col gap-3 rounded-lg border border-line p-3.5">
              <Skeleton className="h-4 w-2/3" />
              <Skeleton className="h-3 w-1/2" />
              <Skeleton className="h-8 w-full" />
            </li>
          ))}
    </ul>
  );
}
