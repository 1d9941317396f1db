"use client";

import { useQuery, useQueryClient } from "@tanstack/react-query";
import { useRouter } from "next/navigation";
import { HiOutlineReply, HiOutlineXCircle } from "react-icons/hi";
import { failureOf } from "@/api-client";
import { backupQuery } from "@/features/backups/queries";
import { useDenied } from "@/features/session/session";
import { listVms, timelineQuery, vmQuery } from "@/features/vms/queries";
import { useSelectedVm } from "@/features/vms/selection";
import { Badge } from "@/ui/badge";
import { Button } from "@/ui/button";
import { Card } from "@/ui/card";
import { FilterSelect, SearchField } from "@/ui/field";
import { plural, shortTime, words } from "@/ui/format";
import { Page, PageHeader, Toolbar } from "@/ui/page";
import { EmptyState, ErrorState, SkeletonLines } from "@/ui/states";
import { DataTable } from "@/ui/table";
import { useSearchText, useUrlState } from "@/ui/url-state";
import { Ago, Bytes, Moment } from "@/ui/values";
import { FileBrowser } from "./file-browser";
import { MountsList, useUnmount } from "./mounts-list";
import { openedMountQuery, type RestoreMount } from "./queries";

const CRUMBS = [{ label: "Backups", href: "/backups" }, { label: "Browse files" }];

/** From a VM to a restore point to its files. The address says which: `vm`, `backup`, `path`. */
export function RestorePage() {
  const { get } = useUrlState();
  const denied = useDenied("files.read");
  const backup = get("backup");
  if (denied)
    return (
      <Page>
        <PageHeader title="Browse files" crumbs={CRUMBS} />
        <Card>
          <EmptyState title="Not for your role">{denied}</EmptyState>
        </Card>
      </Page>
    );
  return backup ? <Opened key={backup} backupId={backup} /> : <Choosing />;
}

function Choosing() {
  const [vmId, selectVm] = useSelectedVm();
  return (
    <Page>
      <PageHeader
        title="Browse files"
        crumbs={CRUMBS}
        description="Open a restore point and take single files or folders out of it"
      />
      {vmId ? (
        <Points vmId={vmId} onOther={() => selectVm(null)} />
      ) : (
        <Vms onChoose={(id) => selectVm(id)} />
      )}
      <MountsList />
    </Page>
  );
}

const SHOWN = 20;

function Vms({ onChoose }: { onChoose: (id: string) => void }) {
  const [text, setText, q] = useSearchText();
  const vms = useQuery({
    queryKey: ["vms", "with-backups", q],
    queryFn: () => listVms({ q }, { by: "last_backup_at", descending: true }, SHOWN, undefined),
  });
  return (
    <Card flush title="Choose a virtual machine">
      <Toolbar>
        <SearchField
          label="Search by name"
          value={text}
          onChange={setText}
          className="min-w-44 flex-1 sm:max-w-72"
        />
      </Toolbar>
      <DataTable
        what="virtual machines"
        rows={vms.data?.items}
        rowKey={(vm) => vm.id}
        skeletonRows={5}
        failure={vms.error ? failureOf(vms.error) : null}
        onRetry={() => vms.refetch()}
        filtered={Boolean(q)}
        onClearFilters={() => setText("")}
        onOpen={(vm) => onChoose(vm.id)}
        empty={{
          title: "No virtual machines yet",
          text: "Files come out of backups. Add a virtual machine and back it up first.",
        }}
        columns={[
          {
            key: "name",
            title: "Name",
            cell: (vm) => (
              <span className="block truncate font-medium" title={vm.name}>
                {vm.name}
              </span>
            ),
          },
          {
            key: "points",
            title: "Restore points",
            width: "w-32",
            align: "right",
            cell: (vm) => <span className="tabular-nums">{vm.point_count}</span>,
          },
          {
            key: "last",
            title: "Last backup",
            width: "w-32",
            from: "sm",
            cell: (vm) => <Ago time={vm.last_backup_at} />,
          },
        ]}
      />
      {(vms.data?.total ?? 0) > SHOWN && (
        <p className="px-4 py-2.5 text-xs text-ink-3">
          The {SHOWN} with the newest backups of {vms.data?.total}; search for the others.
        </p>
      )}
    </Card>
  );
}

function Points({ vmId, onOther }: { vmId: string; onOther: () => void }) {
  const vm = useQuery(vmQuery(vmId));
  const timeline = useQuery(timelineQuery(vmId));
  const { set } = useUrlState();
  return (
    <Card
      flush
      title={vm.data ? `Restore points of ${vm.data.name}` : "Restore points"}
      description={timeline.data ? plural(timeline.data.total, "restore point") : undefined}
      actions={
        <Button size="xs" onClick={onOther}>
          Other virtual machine
        </Button>
      }
    >
      <DataTable
        what="restore points"
        rows={timeline.data?.points.slice(0, 100)}
        rowKey={(point) => point.backup_id}
        skeletonRows={4}
        failure={timeline.error ? failureOf(timeline.error) : null}
        onRetry={() => timeline.refetch()}
        onOpen={(point) => set({ backup: point.backup_id }, "push")}
        empty={{ title: "No restore points yet", text: "The first backup makes the first one." }}
        columns={[
          {
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
          },
          {
            key: "type",
            title: "Type",
            width: "w-28",
            cell: (point) => words(point.captured_as),
          },
          {
            key: "repository",
            title: "Repository",
            width: "w-36",
            from: "md",
            cell: (point) => point.repository_name,
          },
          {
            key: "size",
            title: "Size",
            width: "w-24",
            align: "right",
            from: "sm",
            cell: (point) => <Bytes value={point.size_bytes} />,
          },
          {
            key: "open",
            title: "Open",
            hideTitle: true,
            width: "w-20",
            align: "right",
            cell: (point) => (
              <Button size="xs" onClick={() => set({ backup: point.backup_id }, "push")}>
                Open
              </Button>
            ),
          },
        ]}
      />
    </Card>
  );
}

function Opened({ backupId }: { backupId: string }) {
  const mount = useQuery(openedMountQuery(backupId));
  const client = useQueryClient();
  const { set } = useUrlState();
  const reopen = () => client.resetQueries({ queryKey: ["opened-mount", backupId] });
  const other = () => set({ backup: null, path: null, path_b64: null, find: null }, "push");
  return (
    <div className="mx-auto flex h-full w-full max-w-[1440px] flex-col gap-4 px-4 pt-5 pb-4 sm:px-6">
      <Head mount={mount.data} backupId={backupId} onClosed={other} />
      <section className="flex min-h-[26rem] flex-1 flex-col overflow-hidden rounded-lg border border-line bg-surface shadow-card">
        {mount.error ? (
          <>
            <ErrorState failure={failureOf(mount.error)} onRetry={() => mount.refetch()} />
            <div className="pb-8 text-center">
              <Button variant="ghost" onClick={other}>
                Choose another restore point
              </Button>
            </div>
          </>
        ) : mount.data ? (
          <FileBrowser mount={mount.data} onReopen={reopen} />
        ) : (
          <div className="p-5">
            <p className="mb-4 text-sm text-ink-2">
              Opening the restore point: its disks are read in a sandbox to find their file systems.
            </p>
            <SkeletonLines lines={8} label="Opening the restore point" />
          </div>
        )}
      </section>
    </div>
  );
}

function Head({
  mount,
  backupId,
  onClosed,
}: {
  mount: RestoreMount | undefined;
  backupId: string;
  onClosed: () => void;
}) {
  const backup = useQuery(backupQuery(backupId));
  const vmId = mount?.vm_id ?? backup.data?.vm_id ?? "";
  const timeline = useQuery({ ...timelineQuery(vmId), enabled: Boolean(vmId) });
  const { set } = useUrlState();
  const router = useRouter();
  const unmount = useUnmount();
  const mayRestore = useDenied("restore.run");
  const points = timeline.data?.points ?? [];
  return (
    <PageHeader
      title={mount?.vm_name || backup.data?.vm_name || "Browse files"}
      crumbs={[
        { label: "Backups", href: "/backups" },
        { label: "Browse files", href: "/backups/restore" },
        { label: mount?.vm_name || "…" },
      ]}
      badge={
        mount?.status === "mounted" ? (
          <Badge tone="ok" title={mount.status_message || undefined}>
            Open
          </Badge>
        ) : null
      }
      description={
        mount && (
          <>
            Captured <Moment time={mount.captured_at} never="–" />. Closes by itself{" "}
            <Ago time={mount.expires_at} /> if it is not used.
          </>
        )
      }
      actions={
        <>
          {points.length > 1 && (
            <PointSelect
              points={points}
              current={backupId}
              onChange={(id) => set({ backup: id }, "push")}
            />
          )}
          <Button
            icon={HiOutlineReply}
            onClick={() => router.push(`/backups/${encodeURIComponent(backupId)}?restore=vm`)}
            disabledReason={mayRestore}
          >
            Restore
          </Button>
          <Button
            icon={HiOutlineXCircle}
            busy={unmount.isPending}
            disabledReason={mount ? null : "it is not open"}
            onClick={() => mount && unmount.mutate(mount, { onSuccess: onClosed })}
          >
            Close
          </Button>
        </>
      }
    />
  );
}

/** The same folder at another time. */
function PointSelect({
  points,
  current,
  onChange,
}: {
  points: Array<{ backup_id: string; captured_at: string }>;
  current: string;
  onChange: (id: string) => void;
}) {
  return (
    <FilterSelect
      label="Restore point"
      value={current}
      onChange={onChange}
      required
      options={points.slice(0, 200).map((point) => ({
        value: point.backup_id,
        label: shortTime(point.captured_at),
      }))}
    />
  );
}
