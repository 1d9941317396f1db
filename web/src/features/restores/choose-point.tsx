"use client";

import { useQuery } from "@tanstack/react-query";
import { failureOf } from "@/api-client";
import { CAPTURED, NO_POINTS, REPOSITORY, TYPE } from "@/features/vms/point-columns";
import { listVms, timelineQuery, vmQuery } from "@/features/vms/queries";
import { useSelectedVm } from "@/features/vms/selection";
import { Button } from "@/ui/button";
import { Card } from "@/ui/card";
import { SearchField } from "@/ui/field";
import { plural } from "@/ui/format";
import { Toolbar } from "@/ui/page";
import { DataTable } from "@/ui/table";
import { useSearchText, useUrlState } from "@/ui/url-state";
import { Ago, Bytes } from "@/ui/values";

/** A VM, then one of its restore points: what is chosen goes into the address. */
export function ChoosePoint() {
  const [vmId, selectVm] = useSelectedVm();
  return vmId ? (
    <Points vmId={vmId} onOther={() => selectVm(null)} />
  ) : (
    <Vms onChoose={(id) => selectVm(id)} />
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
        empty={NO_POINTS}
        columns={[
          CAPTURED,
          TYPE,
          REPOSITORY,
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
