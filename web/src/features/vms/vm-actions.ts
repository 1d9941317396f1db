"use client";

import { useRouter } from "next/navigation";
import { HiOutlineFolderOpen, HiOutlineSave } from "react-icons/hi";
import { useStartBackup } from "@/features/backups/start-backup";
import { useDenied } from "@/features/session/session";
import type { Icon } from "@/ui/button";
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
