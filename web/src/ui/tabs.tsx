"use client";

import { type KeyboardEvent, type ReactNode, useId, useRef } from "react";
import { cx } from "./class-names";

export interface TabItem {
  key: string;
  title: string;
  badge?: ReactNode;
}

/** Which of several views is shown; the caller keeps the key, usually in the address. */
export function Tabs({
  items,
  current,
  onChange,
  label,
  children,
}: {
  items: TabItem[];
  current: string;
  onChange: (key: string) => void;
  label: string;
  children: ReactNode;
}) {
  const id = useId();
  const list = useRef<HTMLDivElement>(null);
  function onKey(event: KeyboardEvent) {
    const step = event.key === "ArrowRight" ? 1 : event.key === "ArrowLeft" ? -1 : 0;
    if (step === 0) return;
    event.preventDefault();
    const place = items.findIndex((item) => item.key === current);
    const next = items[(place + step + items.length) % items.length];
    if (!next) return;
    onChange(next.key);
    list.current?.querySelector<HTMLElement>(`[data-tab="${next.key}"]`)?.focus();
  }
  return (
    <>
      <div
        ref={list}
        role="tablist"
        aria-label={label}
        className="scroll-thin flex gap-1 overflow-x-auto border-b border-line"
        onKeyDown={onKey}
      >
        {items.map((item) => (
          <button
            key={item.key}
            type="button"
            role="tab"
            id={`${id}-${item.key}`}
            data-tab={item.key}
            aria-selected={item.key === current}
            aria-controls={`${id}-panel`}
            tabIndex={item.key === current ? 0 : -1}
            className={cx(
              "-mb-px inline-flex h-9 flex-none items-center gap-1.5 border-b-2 px-2.5 text-sm font-medium outline-offset-[-2px] transition-colors",
              item.key === current
                ? "border-accent text-ink"
                : "border-transparent text-ink-3 hover:text-ink",
            )}
            onClick={() => onChange(item.key)}
          >
            {item.title}
            {item.badge !== undefined && item.badge !== null && (
              <span className="rounded bg-sunken px-1.5 text-xs tabular-nums text-ink-2">
                {item.badge}
              </span>
            )}
          </button>
        ))}
      </div>
      <div role="tabpanel" id={`${id}-panel`} aria-labelledby={`${id}-${current}`} className="pt-4">
        {children}
      </div>
    </>
  );
}

/** Two or three ways to see the same thing. */
export function Segments<Key extends string>({
  items,
  current,
  onChange,
  label,
}: {
  items: Array<{ key: Key; title: string; icon?: import("./button").Icon }>;
  current: Key;
  onChange: (key: Key) => void;
  label: string;
}) {
  return (
    <fieldset
      aria-label={label}
      className="inline-flex h-8 flex-none rounded-md border border-line-strong bg-surface p-0.5"
    >
      {items.map((item) => (
        <button
          key={item.key}
          type="button"
          aria-pressed={item.key === current}
          aria-label={item.icon ? item.title : undefined}
          title={item.icon ? item.title : undefined}
          className={cx(
            "inline-flex items-center rounded px-2 text-xs font-medium",
            item.key === current ? "bg-sunken text-ink" : "text-ink-3 hover:text-ink",
          )}
          onClick={() => onChange(item.key)}
        >
          {item.icon ? <item.icon className="size-4" aria-hidden /> : item.title}
        </button>
      ))}
    </fieldset>
  );
}
