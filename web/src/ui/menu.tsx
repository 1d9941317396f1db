"use client";

import { Dropdown, DropdownDivider, DropdownItem } from "flowbite-react";
import { useRouter } from "next/navigation";
import type { ReactElement, ReactNode } from "react";
import { HiDotsHorizontal } from "react-icons/hi";
import type { Icon } from "./button";
import { cx } from "./class-names";

export interface MenuItem {
  label: string;
  icon?: Icon;
  onSelect?: () => void;
  href?: string;
  danger?: boolean;
  checked?: boolean;
  /** Why it cannot be chosen now. */
  disabledReason?: string | null | undefined;
}

export interface MenuProps {
  label: string;
  /** Null makes a line between groups. */
  items: Array<MenuItem | null>;
  /** The button that opens it; three dots when left out. */
  trigger?: ReactElement;
  header?: ReactNode;
  placement?: "bottom-start" | "bottom-end" | "top-start" | "right-end";
}

export function Menu({ label, items, trigger, header, placement = "bottom-end" }: MenuProps) {
  const router = useRouter();
  const opener = trigger ?? (
    <button
      type="button"
      aria-label={label}
      title={label}
      className="inline-flex size-8 flex-none items-center justify-center rounded-md text-ink-3 hover:bg-sunken hover:text-ink"
    >
      <HiDotsHorizontal className="size-4" aria-hidden />
    </button>
  );
  return (
    <Dropdown label={label} placement={placement} renderTrigger={() => opener} dismissOnClick>
      {header && <li className="border-b border-line px-2.5 pt-1 pb-2">{header}</li>}
      {items.map((item, index) =>
        item === null ? (
          // biome-ignore lint/suspicious/noArrayIndexKey: a line has no other name
          <DropdownDivider key={`line-${index}`} />
        ) : (
          <DropdownItem
            key={item.label}
            {...(item.icon ? { icon: item.icon } : {})}
            title={item.disabledReason ?? undefined}
            aria-disabled={item.disabledReason ? true : undefined}
            className={cx(
              item.danger && "text-bad",
              item.disabledReason && "cursor-not-allowed opacity-50",
            )}
            onClick={() => {
              if (item.disabledReason) return;
              item.onSelect?.();
              if (item.href) router.push(item.href);
            }}
          >
            <span className="flex-1">{item.label}</span>
            {item.checked !== undefined && (
              <span className="w-4 text-accent">{item.checked ? "✓" : ""}</span>
            )}
          </DropdownItem>
        ),
      )}
    </Dropdown>
  );
}
