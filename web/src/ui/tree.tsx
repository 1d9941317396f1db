"use client";

import { type KeyboardEvent, type ReactNode, useRef } from "react";
import { HiChevronRight } from "react-icons/hi";
import { cx } from "./class-names";

/** One visible line of a tree; the caller flattens what is open, so that a huge folder costs nothing closed. */
export interface TreeLine {
  key: string;
  label: string;
  level: number;
  icon?: ReactNode;
  /** Undefined for a leaf. */
  expanded?: boolean;
  note?: ReactNode;
}

export function Tree({
  label,
  lines,
  current,
  onSelect,
  onToggle,
}: {
  label: string;
  lines: TreeLine[];
  current: string | null;
  onSelect: (key: string) => void;
  onToggle: (key: string) => void;
}) {
  const tree = useRef<HTMLDivElement>(null);
  const focused = lines.some((line) => line.key === current) ? current : lines[0]?.key;
  function go(place: number) {
    const line = lines[place];
    if (!line) return;
    onSelect(line.key);
    requestAnimationFrame(() =>
      tree.current?.querySelector<HTMLElement>('[tabindex="0"]')?.focus(),
    );
  }
  function onKey(event: KeyboardEvent) {
    const place = lines.findIndex((line) => line.key === focused);
    const line = lines[place];
    if (!line) return;
    if (event.key === "ArrowDown") go(place + 1);
    else if (event.key === "ArrowUp") go(place - 1);
    else if (event.key === "Home") go(0);
    else if (event.key === "End") go(lines.length - 1);
    else if (event.key === "ArrowRight" && line.expanded === false) onToggle(line.key);
    else if (event.key === "ArrowRight" && line.expanded) go(place + 1);
    else if (event.key === "ArrowLeft" && line.expanded) onToggle(line.key);
    else if (event.key === "ArrowLeft")
      go(lines.findLastIndex((other, index) => index < place && other.level < line.level));
    else return;
    event.preventDefault();
  }
  return (
    <div ref={tree} role="tree" aria-label={label} className="text-sm" onKeyDown={onKey}>
      {lines.map((line) => (
        <div
          key={line.key}
          role="treeitem"
          aria-level={line.level + 1}
          aria-expanded={line.expanded}
          aria-selected={line.key === current}
          tabIndex={line.key === focused ? 0 : -1}
          style={{ paddingLeft: 4 + line.level * 16 }}
          className={cx(
            "flex h-7 cursor-pointer items-center gap-1 rounded pr-2",
            line.key === current ? "bg-accent-soft text-accent" : "text-ink-2 hover:bg-hover",
          )}
          onClick={() => onSelect(line.key)}
          onKeyDown={(event) => {
            if (event.key === "Enter") onSelect(line.key);
          }}
        >
          {line.expanded === undefined ? (
            <span className="w-5 flex-none" />
          ) : (
            <button
              type="button"
              tabIndex={-1}
              aria-hidden
              className="flex size-5 flex-none items-center justify-center text-ink-3"
              onClick={(event) => {
                event.stopPropagation();
                onToggle(line.key);
              }}
            >
              <HiChevronRight
                className={cx("size-4 transition-transform", line.expanded && "rotate-90")}
                aria-hidden
              />
            </button>
          )}
          {line.icon}
          <span className="min-w-0 flex-1 truncate" title={line.label}>
            {line.label}
          </span>
          {line.note}
        </div>
      ))}
    </div>
  );
}
