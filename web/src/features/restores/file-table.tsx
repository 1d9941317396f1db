"use client";

import { useVirtualizer } from "@tanstack/react-virtual";
import { type KeyboardEvent, useEffect, useRef } from "react";
import {
  HiOutlineArrowRight,
  HiOutlineDocument,
  HiOutlineDocumentText,
  HiOutlineDownload,
  HiOutlineEye,
  HiOutlineFolder,
  HiOutlinePhotograph,
  HiOutlineServer,
} from "react-icons/hi";
import { Badge } from "@/ui/badge";
import { type Icon, IconButton } from "@/ui/button";
import { cx } from "@/ui/class-names";
import { Bytes, Moment } from "@/ui/values";
import { type FileEntry, keyOf, placeOf } from "./places";

const ROW = 40;

export interface FileTableProps {
  label: string;
  entries: FileEntry[];
  selected: ReadonlyMap<string, FileEntry>;
  onSelect: (selected: ReadonlyMap<string, FileEntry>) => void;
  onOpen: (entry: FileEntry) => void;
  onDownload: (entry: FileEntry) => void;
  onUp?: (() => void) | undefined;
  /** Fetches the next page when the end comes near. */
  onMore?: (() => void) | undefined;
  /** Says where each is, for results of a search. */
  withFolder?: boolean;
  /** Entries are volumes: there is no time, and nothing to preview. */
  volumes?: boolean;
}

/** The entries of a folder, however many: only the visible ones are drawn, which a table element
 * cannot do; roles make it one. */
export function FileTable(props: FileTableProps) {
  const { entries, selected, onSelect, onMore } = props;
  const parent = useRef<HTMLDivElement>(null);
  const rows = useVirtualizer({
    count: entries.length,
    getScrollElement: () => parent.current,
    estimateSize: () => ROW,
    overscan: 12,
  });
  const shown = rows.getVirtualItems();
  const last = shown.at(-1)?.index ?? 0;
  useEffect(() => {
    if (onMore && last >= entries.length - 60) onMore();
  }, [onMore, last, entries.length]);
  const all = entries.length > 0 && entries.every((entry) => selected.has(keyOf(placeOf(entry))));

  function onKey(event: KeyboardEvent) {
    const row = (event.target as HTMLElement).closest<HTMLElement>("[data-place]");
    if (!row || event.target !== row) return;
    const place = Number(row.dataset.place);
    const entry = entries[place];
    if (!entry) return;
    const go = (to: number) => {
      if (to < 0 || to >= entries.length) return;
      rows.scrollToIndex(to);
      requestAnimationFrame(() =>
        parent.current?.querySelector<HTMLElement>(`[data-place="${to}"]`)?.focus(),
      );
    };
    if (event.key === "ArrowDown") go(place + 1);
    else if (event.key === "ArrowUp") go(place - 1);
    else if (event.key === "Home") go(0);
    else if (event.key === "End") go(entries.length - 1);
    else if (event.key === "Enter") props.onOpen(entry);
    else if (event.key === " ") toggle(entry);
    else if (event.key === "Backspace" && props.onUp) props.onUp();
    else return;
    event.preventDefault();
  }

  function toggle(entry: FileEntry) {
    const next = new Map(selected);
    const key = keyOf(placeOf(entry));
    if (!next.delete(key)) next.set(key, entry);
    onSelect(next);
  }

  return (
    <div
      role="table"
      aria-label={props.label}
      aria-rowcount={entries.length}
      className="@container flex min-h-0 flex-1 flex-col text-sm"
    >
      <div role="rowgroup" className="flex-none border-b border-line text-xs text-ink-3">
        <div role="row" className="flex h-9 items-center gap-3 px-4 font-medium">
          <span role="columnheader" className="flex w-4 flex-none">
            <input
              type="checkbox"
              className="check block"
              aria-label="Choose all that is listed"
              disabled={entries.length === 0}
              checked={all}
              onChange={() =>
                onSelect(
                  all
                    ? new Map()
                    : new Map(entries.map((entry) => [keyOf(placeOf(entry)), entry] as const)),
                )
              }
            />
          </span>
          <span role="columnheader" className="min-w-0 flex-1">
            Name
          </span>
          <span role="columnheader" className="hidden w-24 flex-none @2xl:block">
            {props.volumes ? "" : "Mode"}
          </span>
          <span role="columnheader" className="w-20 flex-none text-right">
            Size
          </span>
          <span role="columnheader" className="hidden w-28 flex-none @lg:block">
            {props.volumes ? "" : "Modified"}
          </span>
          <span role="columnheader" className="w-15 flex-none">
            <span className="sr-only">Actions</span>
          </span>
        </div>
      </div>
      <div
        ref={parent}
        role="rowgroup"
        className="scroll-thin min-h-0 flex-1 overflow-y-auto"
        onKeyDown={onKey}
      >
        <div role="presentation" className="relative" style={{ height: rows.getTotalSize() }}>
          {shown.map((item) => {
            const entry = entries[item.index];
            if (!entry) return null;
            return (
              <Row
                key={keyOf(placeOf(entry))}
                entry={entry}
                place={item.index}
                top={item.start}
                chosen={selected.has(keyOf(placeOf(entry)))}
                onToggle={() => toggle(entry)}
                table={props}
              />
            );
          })}
        </div>
      </div>
    </div>
  );
}

function Row({
  entry,
  place,
  top,
  chosen,
  onToggle,
  table,
}: {
  entry: FileEntry;
  place: number;
  top: number;
  chosen: boolean;
  onToggle: () => void;
  table: FileTableProps;
}) {
  const IconComponent = iconOf(entry, table.volumes ?? false);
  const folder = entry.type === "directory";
  const openable = !entry.error && (folder || entry.type === "file");
  return (
    // biome-ignore lint/a11y/useKeyWithClickEvents: the row group listens for keys
    <div
      role="row"
      aria-rowindex={place + 1}
      aria-selected={chosen}
      tabIndex={0}
      data-place={place}
      style={{ transform: `translateY(${top}px)`, height: ROW }}
      className={cx(
        "group/row absolute inset-x-0 flex items-center gap-3 border-b border-line px-4 outline-offset-[-2px]",
        chosen ? "bg-accent-soft/60" : "hover:bg-hover",
        openable && "cursor-pointer",
      )}
      onClick={(event) => {
        if (openable && !(event.target as Element).closest("a, button, input")) table.onOpen(entry);
      }}
    >
      <span role="cell" className="flex w-4 flex-none">
        <input
          type="checkbox"
          className="check block"
          aria-label={`Choose ${entry.name}`}
          checked={chosen}
          onChange={onToggle}
        />
      </span>
      <span role="cell" className="flex min-w-0 flex-1 items-center gap-2">
        <IconComponent
          className={cx("size-4 flex-none", folder ? "text-accent" : "text-ink-3")}
          aria-hidden
        />
        <span className="min-w-0">
          <span className="block truncate" title={entry.name}>
            {entry.name}
            {entry.symlink_target && (
              <span className="text-ink-3">
                <HiOutlineArrowRight className="mx-1 inline size-3" aria-label="points to" />
                {entry.symlink_target}
              </span>
            )}
          </span>
          {table.withFolder && (
            <span className="-mt-0.5 block truncate text-2xs text-ink-3" title={entry.path}>
              {entry.path.slice(0, entry.path.lastIndexOf("/")) || "/"}
            </span>
          )}
        </span>
        {entry.error && (
          <Badge tone="bad" title={entry.error}>
            {entry.error}
          </Badge>
        )}
      </span>
      <span
        role="cell"
        className="hidden w-24 flex-none font-mono text-xs text-ink-3 @2xl:block"
        title={table.volumes ? undefined : `owner ${entry.uid}, group ${entry.gid}`}
      >
        {table.volumes ? "" : entry.mode}
      </span>
      <span role="cell" className="w-20 flex-none text-right text-ink-2">
        {folder && !table.volumes ? "" : <Bytes value={entry.size} />}
      </span>
      <span role="cell" className="hidden w-28 flex-none text-ink-2 @lg:block">
        {entry.modified_time ? <Moment time={entry.modified_time} /> : ""}
      </span>
      <span role="cell" className="flex w-15 flex-none justify-end">
        {entry.type === "file" && (
          <IconButton
            size="xs"
            icon={HiOutlineEye}
            label={`Preview ${entry.name}`}
            onClick={() => table.onOpen(entry)}
          />
        )}
        <IconButton
          size="xs"
          icon={HiOutlineDownload}
          label={`Download ${entry.name}`}
          disabledReason={
            entry.error ? "it cannot be read" : entry.type === "other" ? "it is a device" : null
          }
          onClick={() => table.onDownload(entry)}
        />
      </span>
    </div>
  );
}

const TEXT = /\.(txt|md|log|conf|cfg|ini|json|ya?ml|xml|csv|sh|py|js|ts|html?|css|service|rules)$/i;
const PICTURE = /\.(png|jpe?g|gif|webp|bmp|svg|ico|tiff?)$/i;

function iconOf(entry: FileEntry, volumes: boolean): Icon {
  if (volumes) return HiOutlineServer;
  if (entry.type === "directory") return HiOutlineFolder;
  if (PICTURE.test(entry.name)) return HiOutlinePhotograph;
  return TEXT.test(entry.name) ? HiOutlineDocumentText : HiOutlineDocument;
}
