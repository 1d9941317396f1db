"use client";

import { useQuery } from "@tanstack/react-query";
import { useRouter } from "next/navigation";
import { useDeferredValue, useState } from "react";
import {
  HiOutlineColorSwatch,
  HiOutlineDesktopComputer,
  HiOutlineLogout,
  HiOutlinePlus,
  HiOutlineQuestionMarkCircle,
  HiOutlineSave,
} from "react-icons/hi";
import { useStartBackup } from "@/features/backups/start-backup";
import { useDenied, useSignOut } from "@/features/session/session";
import { listVms } from "@/features/vms/queries";
import { useSelectedVm } from "@/features/vms/selection";
import { type Command, CommandPalette } from "@/ui/command-palette";
import { words } from "@/ui/format";
import { setThemeMode } from "@/ui/theme-mode";
import { SECTIONS } from "./sections";
import { showShortcuts } from "./shortcuts";

const FOUND = 8;

export function CommandBar({ open, onClose }: { open: boolean; onClose: () => void }) {
  const router = useRouter();
  const start = useStartBackup();
  const signOut = useSignOut();
  const mayBackUp = useDenied("backup.run");
  const mayAddRepository = useDenied("repository.manage");
  const mayAddPlatform = useDenied("platform.manage");
  const [, select] = useSelectedVm();
  const [text, setText] = useState("");
  const wanted = useDeferredValue(text.trim());
  const vms = useQuery({
    queryKey: ["vms", "palette", wanted],
    queryFn: () => listVms({ q: wanted }, { by: "name", descending: false }, FOUND, undefined),
    enabled: open && wanted.length > 0,
  });
  const commands: Command[] = [
    ...SECTIONS.map((section) => ({
      key: section.id,
      group: "Go to",
      label: section.label,
      detail: section.description,
      icon: section.icon,
      shortcut: `g ${section.key}`,
      run: () => router.push(section.href),
    })),
    ...(mayBackUp
      ? []
      : [
          {
            key: "backup",
            group: "Actions",
            label: "Start backup…",
            icon: HiOutlineSave,
            run: () => start.ask(),
          },
        ]),
    ...(mayAddPlatform
      ? []
      : [
          {
            key: "platform",
            group: "Actions",
            label: "Add platform…",
            icon: HiOutlinePlus,
            run: () => router.push("/settings/platforms?add=1"),
          },
        ]),
    ...(mayAddRepository
      ? []
      : [
          {
            key: "repository",
            group: "Actions",
            label: "Add repository…",
            icon: HiOutlinePlus,
            run: () => router.push("/settings/repositories?add=1"),
          },
        ]),
    ...(["light", "dark", "system"] as const).map((mode) => ({
      key: `theme-${mode}`,
      group: "Appearance",
      label: mode === "system" ? "Theme like the system" : `${words(mode)} theme`,
      icon: HiOutlineColorSwatch,
      run: () => setThemeMode(mode),
    })),
    {
      key: "shortcuts",
      group: "Help",
      label: "Keyboard shortcuts",
      icon: HiOutlineQuestionMarkCircle,
      shortcut: "?",
      run: showShortcuts,
    },
    {
      key: "sign-out",
      group: "Help",
      label: "Sign out",
      icon: HiOutlineLogout,
      run: () => signOut.mutate(),
    },
  ];
  const found: Command[] = (vms.data?.items ?? []).flatMap((vm) => [
    {
      key: `vm-${vm.id}`,
      group: "Virtual machines",
      label: vm.name,
      detail: words(vm.protection),
      icon: HiOutlineDesktopComputer,
      run: () => {
        select(vm.id);
        router.push(`/virtual-machines/${encodeURIComponent(vm.id)}`);
      },
    },
  ]);
  const backups: Command[] =
    mayBackUp === null
      ? (vms.data?.items ?? [])
          .slice(0, 3)
          .filter((vm) => vm.can_back_up && !vm.active_run)
          .map((vm) => ({
            key: `backup-${vm.id}`,
            group: "Back up now",
            label: `Backup ${vm.name}`,
            icon: HiOutlineSave,
            run: () => start.now({ id: vm.id, name: vm.name }),
          }))
      : [];
  return (
    <CommandPalette
      open={open}
      onClose={() => {
        setText("");
        onClose();
      }}
      commands={commands}
      found={[...found, ...backups]}
      searching={vms.isFetching}
      onText={setText}
    />
  );
}
