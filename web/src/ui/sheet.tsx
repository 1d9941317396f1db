"use client";

import { Modal as FlowbiteModal } from "flowbite-react";
import type { ReactNode } from "react";

export type SheetSide = "left" | "right" | "bottom";

const POSITIONS: Record<SheetSide, string> = {
  left: "items-stretch justify-start",
  right: "items-stretch justify-end",
  bottom: "items-end justify-stretch",
};
const CONTENTS: Record<SheetSide, { base: string; inner: string }> = {
  left: {
    base: "relative w-72 max-w-[85vw]",
    inner: "h-dvh flex flex-col border-r border-line bg-surface",
  },
  right: {
    base: "relative w-[26rem] max-w-full",
    inner: "h-dvh flex flex-col border-l border-line bg-surface",
  },
  bottom: {
    base: "relative w-full",
    inner: "flex max-h-[88dvh] flex-col rounded-t-xl border-t border-line bg-surface",
  },
};

/** A panel from an edge, over the page: focus stays inside until it closes. */
export function Sheet({
  open,
  onClose,
  side,
  label,
  children,
}: {
  open: boolean;
  onClose: () => void;
  side: SheetSide;
  label: string;
  children: ReactNode;
}) {
  return (
    <FlowbiteModal
      show={open}
      onClose={onClose}
      dismissible
      position="edge"
      size="edge"
      aria-label={label}
      theme={{
        root: { positions: { edge: POSITIONS[side] }, sizes: { edge: "" } },
        content: CONTENTS[side],
      }}
      clearTheme={{ content: true } as never}
    >
      {children}
    </FlowbiteModal>
  );
}
