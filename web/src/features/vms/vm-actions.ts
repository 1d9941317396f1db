"use client";

import { useRouter } from "next/navigation";
import {
  HiOutlineAdjustments,
  HiOutlineDatabase,
  HiOutlineDocumentText,
  HiOutlineFolderOpen,
  HiOutlineReply,
  HiOutlineSave,
  HiOutlineServer,
} from "react-icons/hi";
import { useStartBackup } from "@/features/backups/start-backup";
import { useDenied } from "@/features/session/session";
import type { Icon } from "@/ui/button";
import type { MenuItem } from "@/ui/menu";
import type { Vm } from "./queries";

/** What can be done with a VM here and, if not now, why. Rows, panel and palette show the same ones. */
export interface VmAction {
  key: "backup" | "restore-files";
  label: string;
  icon: Icon;
  run: () => void;
  disabledReason: string | null;
}

export function useVmActions(): (vm: Vm) => VmAction[] {
  const start = useStartBackup();
  const router = useRouter();
  const mayBackUp = useDenied("backup.run");
  const mayBrowse = useDenied("files.read");
  return (vm) => [
    {
      key: "backup",
      label: "Backup",
      icon: HiOutlineSave,
      run: () => start.now({ id: vm.id, name: vm.name }),
      disabledReason:
        mayBackUp ??
        (vm.active_run ? "a run of this VM is active" : null) ??
        (start.starting === vm.id ? "it is being started" : null) ??
        (vm.can_back_up ? null : vm.cannot_back_up_reason || "it cannot be backed up now"),
    },
    {
      key: "restore-files",
      label: "Restore Files",
      icon: HiOutlineFolderOpen,
      run: () => router.push(`/backups/restore?vm=${encodeURIComponent(vm.id)}`),
      disabledReason: mayBrowse ?? (vm.has_backups ? null : "it has no backups yet"),
    },
  ];
}

/** What is done less often: options first, restores of the newest point, where to look further. */
export function useVmMenu(): (
  vm: Vm,
  newestBackupId: string | undefined,
) => Array<MenuItem | null> {
  const start = useStartBackup();
  const mayBackUp = useDenied("backup.run");
  const mayRestore = useDenied("restore.run");
  const mayReadLogs = useDenied("logs.read");
  return (vm, newest) => {
    const restore = (what: "vm" | "disk") => ({
      href: `/backups/${encodeURIComponent(newest ?? "")}?restore=${what}&vm=${encodeURIComponent(vm.id)}`,
      disabledReason: mayRestore ?? (newest ? null : "it has no restore point yet"),
    });
    return [
      {
        label: "Backup with options…",
        icon: HiOutlineAdjustments,
        onSelect: () => start.ask({ id: vm.id, name: vm.name }),
        disabledReason:
          mayBackUp ?? (vm.can_back_up ? null : vm.cannot_back_up_reason || "not now"),
      },
      { label: "Restore the whole VM…", icon: HiOutlineReply, ...restore("vm") },
      { label: "Restore one disk…", icon: HiOutlineServer, ...restore("disk") },
      null,
      {
        label: "All its backups",
        icon: HiOutlineDatabase,
        href: `/virtual-machines/${encodeURIComponent(vm.id)}?tab=backups&vm=${encodeURIComponent(vm.id)}`,
      },
      {
        label: "Its log",
        icon: HiOutlineDocumentText,
        href: `/logs?log_vm=${encodeURIComponent(vm.id)}&vm=${encodeURIComponent(vm.id)}`,
        disabledReason: mayReadLogs,
      },
    ];
  };
}
