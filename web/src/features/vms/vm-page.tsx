"use client";

import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import Link from "next/link";
import { useRouter } from "next/navigation";
import { useState } from "react";
import { HiOutlineTag, HiOutlineTrash } from "react-icons/hi";
import { api, failureOf, take } from "@/api-client";
import { LiveRun, RunBadge } from "@/features/runs/run-state";
import { RunsTable } from "@/features/runs/runs-table";
import { useDenied } from "@/features/session/session";
import { Badge, Tag } from "@/ui/badge";
import { Card } from "@/ui/card";
import { TextField } from "@/ui/field";
import { words } from "@/ui/format";
import { ConfirmModal, FormModal } from "@/ui/modal";
import { Facts, Page, PageHeader } from "@/ui/page";
import { ErrorState, Notice, SkeletonLines } from "@/ui/states";
import { DataTable } from "@/ui/table";
import { Tabs } from "@/ui/tabs";
import { useToast } from "@/ui/toast";
import { usePathId, useUrlState } from "@/ui/url-state";
import { Ago, Bytes, Moment, Truncated } from "@/ui/values";
import { PowerStatus, ProtectionBadge } from "./protection";
import { timelineQuery, type VmDetail, vmQuery } from "./queries";
import { VmButtons } from "./vm-buttons";
import { VmTimeline } from "./vm-timeline";

export function VmPage() {
  const id = usePathId();
  const vm = useQuery({ ...vmQuery(id ?? ""), enabled: Boolean(id), refetchInterval: 30_000 });
  const crumbs = [
    { label: "Virtual Machines", href: "/virtual-machines" },
    { label: vm.data?.name ?? "…" },
  ];
  if (vm.error && !vm.data) {
    return (
      <Page>
        <PageHeader title="Virtual machine" crumbs={crumbs} />
        <Card>
          <ErrorState failure={failureOf(vm.error)} onRetry={() => vm.refetch()} />
        </Card>
      </Page>
    );
  }
  if (!vm.data) {
    return (
      <Page>
        <PageHeader title="…" crumbs={crumbs} />
        <Card>
          <SkeletonLines lines={8} label="Loading the virtual machine" />
        </Card>
      </Page>
    );
  }
  return <Loaded vm={vm.data} />;
}

function Loaded({ vm }: { vm: VmDetail }) {
  const { get, set } = useUrlState();
  const timeline = useQuery(timelineQuery(vm.id));
  const mayManage = useDenied("inventory.manage");
  const [editing, setEditing] = useState(false);
  const [removing, setRemoving] = useState(false);
  const tab = get("tab") || "overview";
  return (
    <Page>
      <PageHeader
        title={vm.name}
        crumbs={[{ label: "Virtual Machines", href: "/virtual-machines" }, { label: vm.name }]}
        badge={<ProtectionBadge protection={vm.protection} />}
        actions={
          <VmButtons
            vm={vm}
            newestBackupId={timeline.data?.points[0]?.backup_id}
            more={[
              null,
              {
                label: "Edit tags…",
                icon: HiOutlineTag,
                onSelect: () => setEditing(true),
                disabledReason: mayManage,
              },
              {
                label: "Remove from inventory…",
                icon: HiOutlineTrash,
                danger: true,
                onSelect: () => setRemoving(true),
                disabledReason: mayManage,
              },
            ]}
          />
        }
      />
      {!vm.present && (
        <Notice tone="warn" title="Its platform does not list this VM any more">
          Its backups are kept and can be restored. Discover the platform again if the VM came back.
        </Notice>
      )}
      <div>
        <Tabs
          label="About this virtual machine"
          current={tab}
          onChange={(key) => set({ tab: key === "overview" ? null : key })}
          items={[
            { key: "overview", title: "Overview" },
            { key: "backups", title: "Backups", badge: vm.point_count },
            { key: "disks", title: "Disks", badge: vm.disks.length },
            { key: "network", title: "Network", badge: vm.networks.length },
            { key: "runs", title: "Runs" },
          ]}
        >
          {tab === "overview" && <OverviewTab vm={vm} />}
          {tab === "backups" && <VmTimeline vm={vm} />}
          {tab === "disks" && <DisksTab vm={vm} />}
          {tab === "network" && <NetworkTab vm={vm} />}
          {tab === "runs" && (
            <Card flush>
              <RunsTable vmId={vm.id} />
            </Card>
          )}
        </Tabs>
      </div>
      {editing && <TagsModal vm={vm} onClose={() => setEditing(false)} />}
      {removing && <RemoveModal vm={vm} onClose={() => setRemoving(false)} />}
    </Page>
  );
}

function OverviewTab({ vm }: { vm: VmDetail }) {
  return (
    <div className="grid gap-4 lg:grid-cols-2">
      {vm.active_run && (
        <Card title="Now" className="lg:col-span-2">
          <LiveRun run={vm.active_run} />
        </Card>
      )}
      <Card title="Protection">
        <Facts
          items={[
            ["State", <ProtectionBadge key="s" protection={vm.protection} />],
            ["Last backup", <Ago key="l" time={vm.last_backup_at} />],
            vm.last_run_state
              ? [
                  "Last run",
                  vm.last_run_id ? (
                    <Link
                      key="r"
                      href={`/backups/${encodeURIComponent(vm.last_run_id)}`}
                      className="rounded"
                    >
                      <RunBadge state={vm.last_run_state as "completed"} />
                    </Link>
                  ) : (
                    <RunBadge key="r" state={vm.last_run_state as "completed"} />
                  ),
                ]
              : null,
            ["Restore points", vm.point_count],
            ["Stored for it", <Bytes key="b" value={vm.stored_bytes} />],
          ]}
        />
      </Card>
      <Card title="Machine">
        <Facts
          items={[
            ["Power", <PowerStatus key="p" power={vm.power} />],
            ["Processors", vm.vcpus > 0 ? `${vm.vcpus} vCPU` : "–"],
            ["Memory", <Bytes key="m" value={vm.memory_bytes || null} />],
            [
              "Disks",
              <span key="d">
                {vm.disk_count}, <Bytes value={vm.size_bytes} />
              </span>,
            ],
            ["Firmware", vm.firmware === "none" ? "–" : vm.firmware.toUpperCase()],
            ["Platform", vm.platform_name || "–"],
            [
              "Id on it",
              <Truncated key="i" className="font-mono text-xs leading-5">
                {vm.platform_vm_id}
              </Truncated>,
            ],
            ["Added", <Moment key="a" time={vm.added_at} />],
            ["Last seen", <Ago key="n" time={vm.seen_at} />],
            [
              "Tags",
              vm.tags.length > 0 ? (
                <span key="t" className="flex flex-wrap gap-1">
                  {vm.tags.map((tag) => (
                    <Link
                      key={tag}
                      href={`/virtual-machines?tag=${encodeURIComponent(tag)}`}
                      className="rounded"
                    >
                      <Tag>{tag}</Tag>
                    </Link>
                  ))}
                </span>
              ) : (
                "–"
              ),
            ],
          ]}
        />
      </Card>
    </div>
  );
}

function DisksTab({ vm }: { vm: VmDetail }) {
  return (
    <Card flush>
      <DataTable
        what="disks"
        rows={vm.disks}
        rowKey={(disk) => disk.key}
        columns={[
          {
            key: "key",
            title: "Disk",
            width: "w-24",
            cell: (disk) => <span className="font-mono text-xs">{disk.key}</span>,
          },
          {
            key: "path",
            title: "Where",
            cell: (disk) => <Truncated className="font-mono text-xs">{disk.path}</Truncated>,
          },
          {
            key: "size",
            title: "Size",
            width: "w-28",
            align: "right",
            cell: (disk) => <Bytes value={disk.size_bytes} />,
          },
          {
            key: "format",
            title: "Format",
            width: "w-24",
            from: "md",
            cell: (disk) => disk.format,
          },
          {
            key: "backup",
            title: "Backed up",
            width: "w-48",
            from: "sm",
            cell: (disk) =>
              disk.included ? (
                <Badge
                  tone={disk.tracks_changes ? "ok" : "idle"}
                  title={
                    disk.tracks_changes
                      ? "Changes are tracked: incrementals read what changed"
                      : "Changes are not tracked: incrementals read and compare all"
                  }
                >
                  {disk.tracks_changes ? "Yes, by changes" : "Yes, by comparing"}
                </Badge>
              ) : (
                <Badge tone="warn" title={disk.excluded_reason}>
                  {disk.excluded_reason ? `No: ${disk.excluded_reason}` : "No"}
                </Badge>
              ),
          },
        ]}
      />
    </Card>
  );
}

function NetworkTab({ vm }: { vm: VmDetail }) {
  return (
    <Card flush>
      <DataTable
        what="network interfaces"
        rows={vm.networks}
        rowKey={(nic) => nic.mac}
        empty={{ title: "No network interfaces" }}
        columns={[
          {
            key: "mac",
            title: "MAC address",
            width: "w-48",
            cell: (nic) => <span className="font-mono text-xs">{nic.mac}</span>,
          },
          { key: "network", title: "Network", cell: (nic) => nic.network || "–" },
          {
            key: "model",
            title: "Model",
            width: "w-32",
            from: "sm",
            cell: (nic) => words(nic.model) || "–",
          },
        ]}
      />
    </Card>
  );
}

function TagsModal({ vm, onClose }: { vm: VmDetail; onClose: () => void }) {
  const client = useQueryClient();
  const [text, setText] = useState(vm.tags.join(", "));
  const tags = [...new Set(text.split(/[\s,]+/).filter(Boolean))];
  const wrong = tags.find((tag) => !/^[A-Za-z0-9._:-]{1,64}$/.test(tag));
  const save = useMutation({
    mutationFn: () =>
      take(
        api.PATCH("/api/v1/vms/{vm_id}", { params: { path: { vm_id: vm.id } }, body: { tags } }),
      ),
    onSuccess: () => {
      void client.invalidateQueries({ queryKey: ["vms"] });
      onClose();
    },
  });
  return (
    <FormModal
      open
      onClose={onClose}
      title="Edit tags"
      description={vm.name}
      submitLabel="Save tags"
      onSubmit={() => save.mutate()}
      busy={save.isPending}
      failure={save.error ? failureOf(save.error) : null}
      disabledReason={wrong ? "A tag is not right" : null}
    >
      <TextField
        label="Tags"
        value={text}
        onChange={setText}
        autoFocus
        placeholder="production, tier-1"
        hint="Separated by commas. Roles may be limited to tags."
        error={wrong ? `“${wrong}” may only have letters, digits and . _ : -` : null}
      />
    </FormModal>
  );
}

function RemoveModal({ vm, onClose }: { vm: VmDetail; onClose: () => void }) {
  const client = useQueryClient();
  const router = useRouter();
  const toast = useToast();
  const remove = useMutation({
    mutationFn: () =>
      take(api.DELETE("/api/v1/vms/{vm_id}", { params: { path: { vm_id: vm.id } } })),
    onSuccess: () => {
      void client.invalidateQueries({ queryKey: ["vms"] });
      toast({
        tone: "ok",
        title: `${vm.name} was removed from the inventory`,
        text: "Its backups are kept.",
      });
      router.push("/virtual-machines");
    },
  });
  return (
    <ConfirmModal
      open
      onClose={onClose}
      title="Remove from inventory"
      confirmLabel="Remove"
      danger
      onConfirm={() => remove.mutate()}
      busy={remove.isPending}
      failure={remove.error ? failureOf(remove.error) : null}
    >
      <p>
        <strong className="font-medium text-ink">{vm.name}</strong> will no longer be listed or
        backed up. Its {vm.point_count} restore points stay in their repositories and can be
        restored; the VM itself is not touched.
      </p>
    </ConfirmModal>
  );
}
