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

/** What is known of the chosen VM, beside every section. Without one it leaves its room to the
 * section. */
export function RightContextPanel({
  vmId,
  collapsed,
  onCollapse,
  onClear,
}: RightContextPanelProps) {
  if (!vmId) {
    return (
      <div className="flex h-full flex-col items-center pt-2">
        <IconButton
          icon={HiOutlineDesktopComputer}
          label="Virtual machine"
          disabledReason="choose one in any list to see it here"
        />
      </div>
    );
  }
  if (collapsed) {
    return (
      <div className="flex h-full flex-col items-center pt-2">
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
      <PanelHead onClear={onClear}>
        <IconButton
          icon={HiChevronDoubleRight}
          label="Fold the context panel"
          onClick={onCollapse}
        />
      </PanelHead>
      <div className="scroll-thin min-h-0 flex-1 overflow-y-auto">
        <VmContext id={vmId} />
      </div>
    </div>
  );
}

export function PanelHead({
  onClear,
  children,
}: {
  onClear: () => void;
  children?: React.ReactNode;
}) {
  return (
    <div className="flex h-12 flex-none items-center gap-1 pr-2 pl-4">
      <span className="flex-1 text-xs font-medium text-ink-3">Virtual machine</span>
      <IconButton icon={HiX} label="Close the virtual machine" onClick={onClear} />
      {children}
    </div>
  );
}
