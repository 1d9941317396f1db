"use client";

import {
  HiChevronDoubleLeft,
  HiChevronDoubleRight,
  HiOutlineDesktopComputer,
  HiX,
} from "react-icons/hi";
import { VmContext } from "@/features/vms/vm-context";
import { IconButton } from "@/ui/button";

export interface RightContextPanelProps {
  vmId: string | null;
  collapsed: boolean;
  onCollapse: () => void;
  onClear: () => void;
}

/** What is known of the chosen VM, beside every section. */
export function RightContextPanel({
  vmId,
  collapsed,
  onCollapse,
  onClear,
}: RightContextPanelProps) {
  if (collapsed) {
    return (
      <div className="flex h-full flex-col items-center pt-3">
        <IconButton
          icon={HiChevronDoubleLeft}
          label="Unfold the context panel"
          onClick={onCollapse}
        />
      </div>
    );
  }
  return (
    <div className="flex h-full flex-col">
      <PanelHead onClear={vmId ? onClear : null}>
        <IconButton
          icon={HiChevronDoubleRight}
          label="Fold the context panel"
          onClick={onCollapse}
        />
      </PanelHead>
      <div className="scroll-thin min-h-0 flex-1 overflow-y-auto">
        {vmId ? <VmContext id={vmId} /> : <NothingChosen />}
      </div>
    </div>
  );
}

export function PanelHead({
  onClear,
  children,
}: {
  onClear: (() => void) | null;
  children?: React.ReactNode;
}) {
  return (
    <div className="flex h-12 flex-none items-center gap-1 pr-2 pl-4">
      <span className="flex-1 text-xs font-medium text-ink-3">Virtual machine</span>
      {onClear && <IconButton icon={HiX} label="Close the virtual machine" onClick={onClear} />}
      {children}
    </div>
  );
}

function NothingChosen() {
  return (
    <div className="flex flex-col items-center px-6 pt-16 text-center">
      <span className="mb-3 flex size-10 items-center justify-center rounded-lg bg-sunken text-ink-3">
        <HiOutlineDesktopComputer className="size-5" aria-hidden />
      </span>
      <p className="font-medium">No virtual machine chosen</p>
      <p className="mt-1 text-sm text-balance text-ink-3">
        Choose one in any list to see its protection, its last restore points and what you can do.
      </p>
    </div>
  );
}
