"use client";

import { useInfiniteQuery, useQuery } from "@tanstack/react-query";
import { useEffect, useState } from "react";
import { HiArrowUp, HiChevronRight, HiOutlineDownload, HiOutlineServer } from "react-icons/hi";
import { failureOf } from "@/api-client";
import { Button, IconButton } from "@/ui/button";
import { SearchField } from "@/ui/field";
import { bytes, count, plural } from "@/ui/format";
import { Menu } from "@/ui/menu";
import { EmptyState, ErrorState, Notice, SkeletonLines } from "@/ui/states";
import { useMediaQuery, useSearchText, useUrlState } from "@/ui/url-state";
import { useDownloads } from "./downloads";
import { FilePreview } from "./file-preview";
import { FileTable } from "./file-table";
import { FolderTree } from "./folder-tree";
import { type FileEntry, keyOf, type Place, parentOf, placeOf, ROOT, trailOf } from "./places";
import { filesQuery, type RestoreMount, searchQuery } from "./queries";

/** Where one is, kept in the address: `path`, or `path_b64` for a name that is no text. */
function usePlace(mount: RestoreMount): [Place, (place: Place) => void] {
  const { get, set } = useUrlState();
  const whole = mount.volumes.filter((volume) => !volume.error);
  const [only] = whole;
  const first: Place = whole.length === 1 && only ? { path: `/${only.id}` } : ROOT;
  const b64 = get("path_b64");
  const place: Place = b64 ? { path: get("path"), b64 } : { path: get("path") || first.path };
  const go = (next: Place) =>
    set({ path: next.path, path_b64: next.b64 ?? null, find: null }, "push");
  return [place, go];
}

/** The files of an opened restore point: walk, search, look, choose, download. */
export function FileBrowser({ mount, onReopen }: { mount: RestoreMount; onReopen: () => void }) {
  const [place, go] = usePlace(mount);
  const [text, setText, find] = useSearchText("find");
  const [selected, setSelected] = useState<ReadonlyMap<string, FileEntry>>(new Map());
  const [previewed, setPreviewed] = useState<FileEntry | null>(null);
  const downloads = useDownloads();
  const { set } = useUrlState();
  const roomy = useMediaQuery("(min-width: 1024px)");
  const id = mount.mount_id;
  const here = keyOf(place);
  // biome-ignore lint/correctness/useExhaustiveDependencies: another folder, another search
  useEffect(() => setSelected(new Map()), [here, find, id]);

  const open = (entry: FileEntry) => {
    if (entry.type === "directory") {
      setText("");
      go(placeOf(entry));
    } else setPreviewed(entry);
  };
  const atRoot = here === keyOf(ROOT);
  const table = {
    selected,
    onSelect: setSelected,
    onOpen: open,
    onDownload: (entry: FileEntry) => downloads.start(id, [entry]),
    onUp: atRoot ? undefined : () => go(parentOf(place)),
  };
  return (
    <div className="flex min-h-[26rem] flex-1">
      {roomy && (
        <nav
          aria-label="Folders"
          className="scroll-thin w-60 flex-none overflow-y-auto border-r border-line p-2"
        >
          <FolderTree mountId={id} place={place} onGo={go} />
        </nav>
      )}
      <div className="flex min-w-0 flex-1 flex-col">
        <div className="flex flex-wrap items-center gap-2 border-b border-line px-3 py-2">
          <IconButton
            icon={HiArrowUp}
            label="One folder up"
            onClick={() => go(parentOf(place))}
            disabledReason={atRoot ? "this is the top" : null}
          />
          <Trail place={place} onGo={go} />
          <SearchField
            label={atRoot ? "Search in all volumes" : "Search below this folder"}
            value={text}
            onChange={setText}
            className="w-full sm:w-60"
          />
        </div>
        {selected.size > 0 && (
          <Chosen
            entries={[...selected.values()]}
            onClear={() => setSelected(new Map())}
            onDownload={(format) => downloads.start(id, [...selected.values()], format)}
          />
        )}
        {find ? (
          <Found mountId={id} place={place} text={find} table={table} onReopen={onReopen} />
        ) : (
          <Folder mountId={id} place={place} table={table} onReopen={onReopen} />
        )}
      </div>
      {previewed && (
        <FilePreview
          mount={mount}
          entry={previewed}
          onClose={() => setPreviewed(null)}
          onGo={(backupId) => {
            const folder = parentOf(placeOf(previewed));
            set(
              { backup: backupId, path: folder.path, path_b64: folder.b64 ?? null, find: null },
              "push",
            );
          }}
        />
      )}
    </div>
  );
}

function Trail({ place, onGo }: { place: Place; onGo: (place: Place) => void }) {
  const steps = trailOf(place);
  return (
    <nav aria-label="Path" className="min-w-0 flex-1 basis-48">
      <ol className="flex min-w-0 flex-wrap items-center gap-0.5 text-sm">
        <li>
          <button
            type="button"
            className="flex h-7 items-center gap-1 rounded px-1.5 text-ink-2 hover:bg-hover hover:text-ink"
            onClick={() => onGo(ROOT)}
          >
            <HiOutlineServer className="size-4" aria-hidden />
            <span className={steps.length > 0 ? "sr-only" : ""}>Volumes</span>
          </button>
        </li>
        {steps.map((step, index) => (
          <li key={keyOf(step.place)} className="inline-flex min-w-0 items-center gap-0.5">
            <HiChevronRight className="size-3.5 flex-none text-ink-3" aria-hidden />
            {index === steps.length - 1 ? (
              <span
                aria-current="location"
                className="max-w-64 truncate px-1 font-medium"
                title={step.name}
              >
                {step.name}
              </span>
            ) : (
              <button
                type="button"
                className="h-7 max-w-40 truncate rounded px-1 text-ink-2 hover:bg-hover hover:text-ink"
                title={step.name}
                onClick={() => onGo(step.place)}
              >
                {step.name}
              </button>
            )}
          </li>
        ))}
      </ol>
    </nav>
  );
}

function Chosen({
  entries,
  onClear,
  onDownload,
}: {
  entries: FileEntry[];
  onClear: () => void;
  onDownload: (format?: "zip" | "tar.zst") => void;
}) {
  const folders = entries.filter((entry) => entry.type === "directory").length;
  const size = entries.reduce((sum, entry) => sum + (entry.type === "file" ? entry.size : 0), 0);
  const [only] = entries;
  const single = entries.length === 1 && only?.type === "file";
  return (
    <div
      role="toolbar"
      aria-label="What is chosen"
      className="flex flex-wrap items-center gap-2 border-b border-line bg-accent-soft/40 px-4 py-2 text-sm"
    >
      <span className="mr-auto">
        <span className="font-medium">{count(entries.length)} chosen</span>
        <span className="text-ink-2">
          {folders > 0 ? `, ${plural(folders, "folder")} among them` : `, ${bytes(size)}`}
        </span>
      </span>
      <Button variant="ghost" onClick={onClear}>
        Clear
      </Button>
      <Button
        variant="primary"
        icon={HiOutlineDownload}
        onClick={() => onDownload(single ? undefined : "zip")}
      >
        {single ? "Download" : "Download as zip"}
      </Button>
      <Menu
        label="Other formats"
        items={[
          { label: "Download as zip", onSelect: () => onDownload("zip") },
          { label: "Download as tar.zst", onSelect: () => onDownload("tar.zst") },
        ]}
      />
    </div>
  );
}

type Table = Omit<Parameters<typeof FileTable>[0], "label" | "entries">;

function Folder({
  mountId,
  place,
  table,
  onReopen,
}: {
  mountId: string;
  place: Place;
  table: Table;
  onReopen: () => void;
}) {
  const folder = useInfiniteQuery(filesQuery(mountId, place));
  const atRoot = keyOf(place) === keyOf(ROOT);
  if (folder.error && !folder.data)
    return <Failed error={folder.error} onRetry={() => folder.refetch()} onReopen={onReopen} />;
  if (!folder.data)
    return (
      <div className="p-4">
        <SkeletonLines lines={8} label="Loading the folder" />
      </div>
    );
  const entries = folder.data.pages.flatMap((page) => page.files);
  const problems = folder.data.pages.flatMap((page) => page.problems ?? []);
  const total = folder.data.pages[0]?.total ?? 0;
  return (
    <>
      <Problems problems={problems} />
      {entries.length === 0 ? (
        <EmptyState title={atRoot ? "No file systems were found" : "This folder is empty"}>
          {atRoot
            ? "The disks hold no file system that can be read. Restore the whole disk instead."
            : null}
        </EmptyState>
      ) : (
        <FileTable
          {...table}
          label="Files"
          entries={entries}
          volumes={atRoot}
          onMore={
            folder.hasNextPage && !folder.isFetchingNextPage
              ? () => void folder.fetchNextPage()
              : undefined
          }
        />
      )}
      <p className="border-t border-line px-4 py-2 text-xs tabular-nums text-ink-3" role="status">
        {entries.length < total
          ? `${count(entries.length)} of ${count(total)} loaded`
          : atRoot
            ? plural(total, "volume")
            : plural(total, "entry", "entries")}
      </p>
    </>
  );
}

function Found({
  mountId,
  place,
  text,
  table,
  onReopen,
}: {
  mountId: string;
  place: Place;
  text: string;
  table: Table;
  onReopen: () => void;
}) {
  const found = useQuery(searchQuery(mountId, place, text));
  if (found.error)
    return <Failed error={found.error} onRetry={() => found.refetch()} onReopen={onReopen} />;
  if (!found.data)
    return (
      <div className="p-4">
        <SkeletonLines lines={6} label="Searching" />
      </div>
    );
  return (
    <>
      <Problems problems={found.data.problems ?? []} />
      {found.data.files.length === 0 ? (
        <EmptyState title={`Nothing is named like “${text}”`}>
          The search looks at names below this folder. Go up for a wider one; * and ? stand for what
          you do not know.
        </EmptyState>
      ) : (
        <FileTable {...table} label="Search results" entries={found.data.files} withFolder />
      )}
      <p className="border-t border-line px-4 py-2 text-xs text-ink-3" role="status">
        {found.data.complete
          ? `${plural(found.data.files.length, "match", "matches")} below ${found.data.path}`
          : `The first ${count(found.data.files.length)} matches; type more of the name for the others`}
      </p>
    </>
  );
}

function Problems({ problems }: { problems: string[] }) {
  const [first] = problems;
  if (!first) return null;
  return (
    <Notice
      tone="warn"
      className="m-3"
      title={`${plural(problems.length, "part")} could not be read`}
    >
      <ul className="scroll-thin max-h-24 overflow-y-auto">
        {problems.map((problem) => (
          <li key={problem}>{problem}</li>
        ))}
      </ul>
    </Notice>
  );
}

function Failed({
  error,
  onRetry,
  onReopen,
}: {
  error: unknown;
  onRetry: () => void;
  onReopen: () => void;
}) {
  const failure = failureOf(error);
  return (
    <ErrorState
      failure={
        failure.code === "mount_expired"
          ? { ...failure, title: "The restore point was closed" }
          : failure
      }
      onRetry={failure.code === "mount_expired" ? onReopen : onRetry}
    />
  );
}
