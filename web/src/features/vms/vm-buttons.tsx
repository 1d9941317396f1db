"use client";

import { Button, RowAction } from "@/ui/button";
import { Menu, type MenuItem } from "@/ui/menu";
import type { Vm } from "./queries";
import { useVmActions, useVmMenu } from "./vm-actions";

/** What can be done with a VM, as buttons, and the rest in a menu. */
export function VmButtons({
  vm,
  newestBackupId,
  more = [],
}: {
  vm: Vm;
  newestBackupId: string | undefined;
  /** At the end of the menu. */
  more?: Array<MenuItem | null>;
}) {
  const actionsOf = useVmActions();
  const menuOf = useVmMenu();
  return (
    <>
      {actionsOf(vm).map((action, place) => (
        <Button
          key={action.key}
          variant={place === 0 ? "primary" : "secondary"}
          icon={action.icon}
          onClick={action.run}
          disabledReason={action.disabledReason}
        >
          {action.label}
        </Button>
      ))}
      <Menu label={`More about ${vm.name}`} items={[...menuOf(vm, newestBackupId), ...more]} />
    </>
  );
}

/** The same in the row of a VM. */
export function VmRowActions({ vm }: { vm: Vm }) {
  const actionsOf = useVmActions();
  return actionsOf(vm).map((action) => (
    <RowAction
      key={action.key}
      icon={action.icon}
      label={action.label}
      of={vm.name}
      onClick={action.run}
      disabledReason={action.disabledReason}
    />
  ));
}
