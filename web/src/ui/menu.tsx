"use client";

import { useRouter } from "next/navigation";
import {
  cloneElement,
  type KeyboardEvent,
  type ReactElement,
  type ReactNode,
  useEffect,
  useId,
  useRef,
  useState,
} from "react";
import { createPortal } from "react-dom";
import { HiDotsHorizontal } from "react-icons/hi";
import type { Icon } from "./button";
import { cx } from "./class-names";

export interface MenuItem {
  label: string;
  icon?: Icon;
  onSelect?: () => void;
  href?: string;
  danger?: boolean;
  /** Makes it one of several choices. */
  checked?: boolean;
  /** Why it cannot be chosen now. */
  disabledReason?: string | null | undefined;
}

export interface MenuProps {
  label: string;
  /** Null makes a line between groups. */
  items: Array<MenuItem | null>;
  /** The button that opens it; three dots when left out. */
  trigger?: ReactElement<Record<string, unknown>>;
  header?: ReactNode;
  placement?: "bottom-start" | "bottom-end" | "top-start";
}

/** Own, not Flowbite's Dropdown: that one puts a list between the menu and its items, which screen
 * readers then do not take for a menu (axe: aria-required-children, critical). */
export function Menu({ label, items, trigger, header, placement = "bottom-end" }: MenuProps) {
  const [at, setAt] = useState<{
    top?: number;
    bottom?: number;
    left?: number;
    right?: number;
  } | null>(null);
  const router = useRouter();
  const opener = useRef<HTMLSpanElement>(null);
  const menu = useRef<HTMLDivElement>(null);
  const id = useId();
  const open = at !== null;

  function show() {
    const box = opener.current?.firstElementChild?.getBoundingClientRect();
    if (!box) return;
    const room = window.innerHeight - box.bottom;
    const up = placement === "top-start" || (room < 40 + items.length * 34 && box.top > room);
    setAt({
      ...(up ? { bottom: window.innerHeight - box.top + 4 } : { top: box.bottom + 4 }),
      ...(placement === "bottom-end"
        ? { right: Math.max(8, window.innerWidth - box.right) }
        : { left: Math.max(8, box.left) }),
    });
  }
  function close(refocus: boolean) {
    setAt(null);
    if (refocus) (opener.current?.firstElementChild as HTMLElement | null)?.focus();
  }
  useEffect(() => {
    if (!open) return;
    menu.current?.querySelector<HTMLElement>('[role^="menuitem"]')?.focus();
    const away = (event: Event) => {
      const target = event.target as Node;
      if (!menu.current?.contains(target) && !opener.current?.contains(target)) setAt(null);
    };
    document.addEventListener("pointerdown", away);
    document.addEventListener("scroll", away, true);
    window.addEventListener("resize", away);
    return () => {
      document.removeEventListener("pointerdown", away);
      document.removeEventListener("scroll", away, true);
      window.removeEventListener("resize", away);
    };
  }, [open]);
  function onKey(event: KeyboardEvent) {
    const all = [...(menu.current?.querySelectorAll<HTMLElement>('[role^="menuitem"]') ?? [])];
    const place = all.indexOf(document.activeElement as HTMLElement);
    if (event.key === "Escape" || event.key === "Tab") {
      close(true);
      event.stopPropagation();
    } else if (event.key === "ArrowDown") all[(place + 1) % all.length]?.focus();
    else if (event.key === "ArrowUp") all[(place - 1 + all.length) % all.length]?.focus();
    else if (event.key === "Home") all[0]?.focus();
    else if (event.key === "End") all.at(-1)?.focus();
    else if (event.key.length === 1 && event.key !== " ") {
      all
        .find((item) => item.textContent?.toLowerCase().startsWith(event.key.toLowerCase()))
        ?.focus();
    } else return;
    event.preventDefault();
  }

  const button = trigger ?? (
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
    <span ref={opener} className="contents">
      {cloneElement(button, {
        "aria-haspopup": "menu",
        "aria-expanded": open,
        "aria-controls": open ? id : undefined,
        onClick: () => (open ? close(false) : show()),
      })}
      {open &&
        createPortal(
          <div
            ref={menu}
            id={id}
            role="menu"
            tabIndex={-1}
            aria-label={label}
            style={at}
            onKeyDown={onKey}
            className="scroll-thin fixed z-[60] max-h-[70vh] w-max min-w-48 max-w-[90vw] animate-[fade-in_80ms_ease-out] overflow-auto rounded-lg border border-line bg-raised p-1 text-sm text-ink shadow-float"
          >
            {header && (
              <div role="presentation" className="mb-1 border-b border-line px-2.5 pt-1 pb-2">
                {header}
              </div>
            )}
            {items.map((item, index) =>
              item === null ? (
                // biome-ignore lint/suspicious/noArrayIndexKey: a line has no other name
                <hr key={`line-${index}`} className="my-1 border-line" />
              ) : (
                // biome-ignore lint/a11y/useAriaPropsSupportedByRole: checked only as a menuitemradio
                <button
                  key={item.label}
                  type="button"
                  role={item.checked === undefined ? "menuitem" : "menuitemradio"}
                  aria-checked={item.checked}
                  aria-disabled={item.disabledReason ? true : undefined}
                  title={item.disabledReason ?? undefined}
                  tabIndex={-1}
                  className={cx(
                    "flex w-full items-center gap-2 rounded-md px-2.5 py-1.5 text-left outline-offset-[-2px] focus:bg-hover",
                    item.danger && "text-bad",
                    item.disabledReason ? "cursor-not-allowed text-ink-3" : "hover:bg-hover",
                  )}
                  onClick={() => {
                    if (item.disabledReason) return;
                    close(true);
                    item.onSelect?.();
                    if (item.href) router.push(item.href);
                  }}
                >
                  {item.icon ? (
                    <item.icon className="size-4 flex-none text-ink-3" aria-hidden />
                  ) : (
                    item.checked !== undefined && <span className="w-4" />
                  )}
                  <span className="flex-1">{item.label}</span>
                  {item.checked && (
                    <span aria-hidden className="text-accent">
                      ✓
                    </span>
                  )}
                </button>
              ),
            )}
          </div>,
          document.body,
        )}
    </span>
  );
}
