"use client";

import { useQueries } from "@tanstack/react-query";
import { useEffect, useMemo, useState } from "react";
import { HiOutlineFolder, HiOutlineServer } from "react-icons/hi";
import { SkeletonLines } from "@/ui/states";
import { Tree, type TreeLine } from "@/ui/tree";
import { type FileEntry, keyOf, type Place, placeOf, ROOT, trailOf } from "./places";
import { folderQuery } from "./queries";

/** The folders of a mount. Only what is open is asked for; of a huge folder the first page. */
export function FolderTree({
  mountId,
  place,
  onGo,
}: {
  mountId: string;
  place: Place;
  onGo: (place: Place) => void;
}) {
  const [open, setOpen] = useState<ReadonlyMap<string, Place>>(new Map([[keyOf(ROOT), ROOT]]));
  const here = keyOf(place);
  // biome-ignore lint/correctness/useExhaustiveDependencies: `here` names the place
  useEffect(() => {
    // Where one is is visible in the tree: everything above it opens.
    setOpen((before) => {
      const above = trailOf(place).slice(0, -1);
      if (above.every((step) => before.has(keyOf(step.place)))) return before;
      return new Map([...before, ...above.map((step) => [keyOf(step.place), step.place] as const)]);
    });
  }, [here]);
  const places = [...open.values()];
  const folders = useQueries({ queries: places.map((each) => folderQuery(mountId, each)) });
  const loaded = new Map(places.map((each, index) => [keyOf(each), folders[index]?.data?.files]));
  const lines = linesOf(loaded, open);
  const placeByKey = useMemo(() => new Map(lines.map((line) => [line.key, line.place])), [lines]);
  if (!loaded.get(keyOf(ROOT))) return <SkeletonLines lines={5} label="Loading the folders" />;
  return (
    <Tree
      label="Folders"
      lines={lines}
      current={here}
      onSelect={(key) => {
        const chosen = placeByKey.get(key);
        if (chosen) onGo(chosen);
      }}
      onToggle={(key) => {
        const chosen = placeByKey.get(key);
        if (!chosen) return;
        const next = new Map(open);
        if (!next.delete(key)) next.set(key, chosen);
        setOpen(next);
      }}
    />
  );
}

type Line = TreeLine & { place: Place };

function linesOf(
  loaded: ReadonlyMap<string, FileEntry[] | undefined>,
  open: ReadonlyMap<string, Place>,
): Line[] {
  const lines: Line[] = [];
  const walk = (folder: Place, level: number) => {
    for (const entry of loaded.get(keyOf(folder)) ?? []) {
      if (entry.type !== "directory" || entry.error) continue;
      const place = placeOf(entry);
      const key = keyOf(place);
      const Icon = level === 0 ? HiOutlineServer : HiOutlineFolder;
      lines.push({
        key,
        place,
        label: entry.name,
        level,
        icon: <Icon className="size-4 flex-none text-ink-3" aria-hidden />,
        expanded: open.has(key),
      });
      if (open.has(key)) walk(place, level + 1);
    }
  };
  walk(ROOT, 0);
  return lines;
}
