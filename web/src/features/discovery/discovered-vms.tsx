"use client";

import { useMutation, useQueryClient } from "@tanstack/react-query";
import Link from "next/link";
import { useDeferredValue, useMemo, useState } from "react";
import { HiOutlinePlus } from "react-icons/hi";
import { api, failureOf, type Schemas, take } from "@/api-client";
import { useDenied } from "@/features/session/session";
import { PowerStatus } from "@/features/vms/protection";
import { useSelectedVm } from "@/features/vms/selection";
import { Badge } from "@/ui/badge";
import { Button, RowAction } from "@/ui/button";
import { Card } from "@/ui/card";
import { FilterSelect, SearchField } from "@/ui/field";
import { bytes, count, plural } from "@/ui/format";
import { Toolbar } from "@/ui/page";
import { Pager } from "@/ui/pager";
import { Notice } from "@/ui/states";
import { ACTIONS, type Column, DataTable, type Sort } from "@/ui/table";
import { useToast } from "@/ui/toast";
import { Ago, Bytes } from "@/ui/values";

type Found = Schemas["DiscoveredVm"];
const PAGE = 100;

/** What a platform has: to be filtered and added, one or many at once. */
export function DiscoveredVms({
  discovery,
  platformId,
}: {
  discovery: Schemas["Discovery"] | undefined;
  platformId: string;
}) {
  const client = useQueryClient();
  const toast = useToast();
  const [, select] = useSelectedVm();
  const mayAdd = useDenied("inventory.manage");
  const [text, setText] = useState("");
  const [known, setKnown] = useState("");
  const [power, setPower] = useState("");
  const [sort, setSort] = useState<Sort>({ by: "name", descending: false });
  const [chosen, setChosen] = useState<ReadonlySet<string>>(new Set());
  const [page, setPage] = useState(0);
  const wanted = useDeferredValue(text.trim().toLowerCase());
  const rows = useMemo(() => {
    const kept = (discovery?.vms ?? []).filter(
      (vm) =>
        (!wanted || vm.name.toLowerCase().includes(wanted)) &&
        (!power || vm.power === power) &&
        (!known || (known === "known") === (vm.vm_id !== null)),
    );
    const by =
      sort.by === "size"
        ? (a: Found, b: Found) => a.size_bytes - b.size_bytes
        : (a: Found, b: Found) => a.name.localeCompare(b.name, "en", { numeric: true });
    kept.sort((a, b) => (sort.descending ? -by(a, b) : by(a, b)));
    return kept;
  }, [discovery, wanted, power, known, sort]);
  const byId = useMemo(
    () => new Map((discovery?.vms ?? []).map((vm) => [vm.platform_vm_id, vm])),
    [discovery],
  );
  const shown = rows.slice(page * PAGE, page * PAGE + PAGE);

  const add = useMutation({
    mutationFn: (ids: string[]) =>
      take(
        api.POST("/api/v1/platforms/{platform_id}/vms", {
          params: { path: { platform_id: platformId } },
          body: { platform_vm_ids: ids },
        }),
      ),
    onSuccess: (result) => {
      const vmIds = new Map(result.vms.map((vm) => [vm.platform_vm_id, vm.vm_id]));
      client.setQueryData<Schemas["Discovery"]>(
        ["discovery", platformId],
        (old) =>
          old && {
            ...old,
            vms: old.vms.map((vm) => ({ ...vm, vm_id: vmIds.get(vm.platform_vm_id) ?? vm.vm_id })),
          },
      );
      for (const key of ["vms", "overview", "platforms"])
        void client.invalidateQueries({ queryKey: [key] });
      setChosen(new Set());
      const failed = result.vms.filter((vm) => vm.problem);
      toast({
        tone: failed.length > 0 ? "warn" : "ok",
        title: `${plural(result.added, "virtual machine")} added`,
        text: failed[0]
          ? `${failed[0].name}: ${failed[0].problem}`
          : result.already_known > 0
            ? `${result.already_known} were known already`
            : "",
      });
      const first = result.vms.find((vm) => vm.added && vm.vm_id);
      if (result.added === 1 && first?.vm_id) select(first.vm_id);
    },
    onError: (error) =>
      toast({ tone: "bad", title: "They were not added", text: failureOf(error).detail }),
  });
  const clear = () => {
    setText("");
    setKnown("");
    setPower("");
  };
  const vms = discovery?.vms;
  const columns: Column<Found>[] = [
    {
      key: "name",
      title: "Name",
      sort: "name",
      cell: (vm) => (
        <span className="block truncate font-medium" title={vm.name}>
          {vm.name}
        </span>
      ),
    },
    {
      key: "power",
      title: "State",
      width: "w-28",
      from: "sm",
      cell: (vm) => <PowerStatus power={vm.power} />,
    },
    {
      key: "resources",
      title: "Resources",
      width: "w-40",
      from: "md",
      cell: (vm) => (
        <span className="tabular-nums">
          {vm.vcpus > 0 ? `${vm.vcpus} vCPU, ${bytes(vm.memory_bytes)}` : "–"}
        </span>
      ),
    },
    {
      key: "storage",
      title: "Storage",
      sort: "size",
      width: "w-36",
      align: "right",
      from: "sm",
      cell: (vm) => (
        <span className="text-ink-3">
          {plural(vm.disks.length, "disk")},{" "}
          <span className="text-ink">
            <Bytes value={vm.size_bytes} />
          </span>
        </span>
      ),
    },
    {
      key: "networks",
      title: "Networks",
      width: "w-36",
      from: "lg",
      cell: (vm) => {
        const names = [...new Set(vm.networks.map((nic) => nic.network))];
        return (
          <span className="block truncate" title={names.join(", ")}>
            {names[0] ?? "–"}
            {names.length > 1 && <span className="text-ink-3"> +{names.length - 1}</span>}
          </span>
        );
      },
    },
    {
      ...ACTIONS,
      width: "w-24 @4xl:w-36",
      cell: (vm) =>
        vm.vm_id ? (
          <Link
            href={`/virtual-machines/${encodeURIComponent(vm.vm_id)}`}
            prefetch={false}
            className="rounded"
          >
            <Badge tone="ok">Added</Badge>
          </Link>
        ) : (
          <RowAction
            icon={HiOutlinePlus}
            label="Add"
            of={vm.name}
            onClick={() => add.mutate([vm.platform_vm_id])}
            disabledReason={mayAdd ?? (add.isPending ? "others are being added" : null)}
          />
        ),
    },
  ];
  return (
    <>
      {discovery && (
        <p className="text-sm text-ink-3">
          <span className="text-ink">{plural(vms?.length ?? 0, "virtual machine")}</span>,{" "}
          {count(vms?.filter((vm) => vm.power === "running").length ?? 0)} running,{" "}
          <Bytes value={vms?.reduce((sum, vm) => sum + vm.size_bytes, 0) ?? 0} /> of disks.
          Discovered <Ago time={discovery.discovered_at} /> in{" "}
          {discovery.duration_seconds.toFixed(1)} s.
        </p>
      )}
      <Card flush>
        <Toolbar>
          <SearchField
            label="Filter by name"
            value={text}
            onChange={(value) => {
              setText(value);
              setPage(0);
            }}
            className="min-w-44 flex-1 sm:max-w-72"
          />
          <FilterSelect
            label="Known"
            value={known}
            onChange={(value) => {
              setKnown(value);
              setPage(0);
            }}
            options={[
              { value: "new", label: "Not added" },
              { value: "known", label: "Added already" },
            ]}
          />
          <FilterSelect
            label="State"
            value={power}
            onChange={(value) => {
              setPower(value);
              setPage(0);
            }}
            options={[
              { value: "running", label: "Running" },
              { value: "shut_off", label: "Shut off" },
              { value: "paused", label: "Paused" },
            ]}
          />
          <span className="ml-auto flex items-center gap-2">
            {chosen.size > 0 && (
              <Button size="xs" variant="ghost" onClick={() => setChosen(new Set())}>
                Choose none
              </Button>
            )}
            <Button
              variant="primary"
              busy={add.isPending}
              disabledReason={
                mayAdd ?? (chosen.size === 0 ? "Choose virtual machines first" : null)
              }
              onClick={() => add.mutate([...chosen])}
            >
              {chosen.size > 0 ? `Add ${count(chosen.size)}` : "Add chosen"}
            </Button>
          </span>
        </Toolbar>
        {chosen.size > 0 && rows.length > shown.length && (
          <Notice
            tone="info"
            className="rounded-none"
            action={
              <button
                type="button"
                className="font-medium underline underline-offset-2"
                onClick={() =>
                  setChosen(new Set(rows.filter((vm) => !vm.vm_id).map((vm) => vm.platform_vm_id)))
                }
              >
                Choose all {count(rows.filter((vm) => !vm.vm_id).length)} that are not added
              </button>
            }
          >
            {count(chosen.size)} chosen
          </Notice>
        )}
        <DataTable
          what="virtual machines"
          columns={columns}
          rows={discovery ? shown : undefined}
          rowKey={(vm) => vm.platform_vm_id}
          sort={sort}
          onSort={setSort}
          selection={{
            keys: chosen,
            onChange: setChosen,
            disabledReason: (key) => (byId.get(key)?.vm_id ? "It was added already" : null),
          }}
          filtered={Boolean(wanted || known || power)}
          onClearFilters={clear}
          empty={{ title: "The platform has no virtual machines" }}
        />
        <Pager
          page={page}
          pageSize={PAGE}
          shown={shown.length}
          total={discovery ? rows.length : undefined}
          hasNext={(page + 1) * PAGE < rows.length}
          onPrevious={() => setPage(page - 1)}
          onNext={() => setPage(page + 1)}
        />
      </Card>
    </>
  );
}
