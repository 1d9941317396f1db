"use client";

import {
  createContext,
  type ReactNode,
  useCallback,
  useContext,
  useEffect,
  useMemo,
  useRef,
  useState,
} from "react";
import {
  HiCheckCircle,
  HiChevronDown,
  HiChevronUp,
  HiExclamationCircle,
  HiExternalLink,
  HiOutlineDocumentDownload,
  HiOutlineRefresh,
  HiX,
} from "react-icons/hi";
import { IconButton } from "@/ui/button";
import { bytes, plural, rate } from "@/ui/format";
import { Progress } from "@/ui/progress";
import { downloadAddress, type FileEntry } from "./places";
import { handOver, LARGEST_HELD_BYTES, Refused, save, TooLarge, Transfer } from "./transfer";

interface Download {
  id: number;
  name: string;
  address: string;
  /** Bytes; null for an archive, which nobody has measured. */
  total: number | null;
  received: number;
  bps: number;
  state: "running" | "done" | "failed" | "handed";
  problem: string;
}

interface Downloads {
  start: (mountId: string, entries: readonly FileEntry[], format?: "zip" | "tar.zst") => void;
}

const SHOWN_EVERY_MS = 250;
const Context = createContext<Downloads | null>(null);

export function useDownloads(): Downloads {
  const value = useContext(Context);
  if (!value) throw new Error("useDownloads outside of DownloadsProvider");
  return value;
}

/** Downloads go on while one walks through the dashboard; leaving it asks first. */
export function DownloadsProvider({ children }: { children: ReactNode }) {
  const [all, setAll] = useState<Download[]>([]);
  const next = useRef(1);
  const transfers = useRef(new Map<number, { transfer: Transfer; abort: AbortController }>());

  const change = useCallback((id: number, changes: Partial<Download>) => {
    setAll((before) => before.map((one) => (one.id === id ? { ...one, ...changes } : one)));
  }, []);

  const run = useCallback(
    async (id: number, name: string, address: string, transfer: Transfer) => {
      const abort = new AbortController();
      transfers.current.set(id, { transfer, abort });
      let shownAt = performance.now();
      let shownBytes = transfer.received;
      change(id, { state: "running", problem: "" });
      try {
        const blob = await transfer.run(abort.signal, () => {
          const now = performance.now();
          if (now - shownAt < SHOWN_EVERY_MS) return;
          const bps = Math.round((1000 * (transfer.received - shownBytes)) / (now - shownAt));
          shownAt = now;
          shownBytes = transfer.received;
          change(id, { received: transfer.received, total: transfer.total, bps });
        });
        save(blob, name);
        change(id, { state: "done", received: transfer.received, total: transfer.received });
        transfers.current.delete(id);
      } catch (error) {
        if (abort.signal.aborted) return;
        if (error instanceof TooLarge) {
          transfers.current.delete(id);
          handOver(address);
          change(id, { state: "handed" });
          return;
        }
        change(id, {
          state: "failed",
          received: transfer.received,
          problem:
            error instanceof Refused
              ? error.message
              : "The connection broke off. It goes on where it stopped when you try again.",
        });
      }
    },
    [change],
  );

  const start = useCallback<Downloads["start"]>(
    (mountId, entries, format) => {
      const [first] = entries;
      if (!first) return;
      const single = entries.length === 1 && first.type === "file" && !format;
      const archive = format ?? "zip";
      const name = single
        ? first.name
        : `${entries.length === 1 ? first.name : "files"}.${archive}`;
      const address = downloadAddress(mountId, entries, single ? undefined : archive);
      const id = next.current;
      next.current += 1;
      const total = single ? first.size : null;
      const large = single && first.size > LARGEST_HELD_BYTES;
      setAll((before) => [
        ...before,
        {
          id,
          name,
          address,
          total,
          received: 0,
          bps: 0,
          state: large ? "handed" : "running",
          problem: "",
        },
      ]);
      if (large) handOver(address);
      else void run(id, name, address, new Transfer(address, single));
    },
    [run],
  );

  const remove = useCallback((id: number) => {
    transfers.current.get(id)?.abort.abort();
    transfers.current.delete(id);
    setAll((before) => before.filter((one) => one.id !== id));
  }, []);
  const again = useCallback(
    (download: Download) => {
      const kept = transfers.current.get(download.id);
      if (kept) void run(download.id, download.name, download.address, kept.transfer);
    },
    [run],
  );

  const running = all.some((one) => one.state === "running");
  useEffect(() => {
    if (!running) return;
    const ask = (event: BeforeUnloadEvent) => event.preventDefault();
    window.addEventListener("beforeunload", ask);
    return () => window.removeEventListener("beforeunload", ask);
  }, [running]);

  const value = useMemo(() => ({ start }), [start]);
  return (
    <Context value={value}>
      {children}
      {all.length > 0 && (
        <List
          downloads={all}
          onRemove={remove}
          onAgain={again}
          onClear={() => {
            for (const one of all) if (one.state !== "running") remove(one.id);
          }}
        />
      )}
    </Context>
  );
}

function List({
  downloads,
  onRemove,
  onAgain,
  onClear,
}: {
  downloads: Download[];
  onRemove: (id: number) => void;
  onAgain: (download: Download) => void;
  onClear: () => void;
}) {
  const [folded, setFolded] = useState(false);
  const running = downloads.filter((one) => one.state === "running").length;
  return (
    <section
      aria-label="Downloads"
      className="fixed inset-x-2 bottom-2 z-40 flex max-h-[40vh] flex-col rounded-lg border border-line bg-raised shadow-float sm:right-auto sm:left-4 sm:w-96 md:left-18 lg:left-60"
    >
      <div className="flex items-center gap-1 border-b border-line py-1 pr-1 pl-3.5">
        <HiOutlineDocumentDownload className="size-4 flex-none text-ink-3" aria-hidden />
        <h2 className="ml-1.5 flex-1 text-sm font-semibold" role="status">
          {running > 0 ? `Downloading ${plural(running, "item")}` : "Downloads"}
        </h2>
        <IconButton
          icon={folded ? HiChevronUp : HiChevronDown}
          label={folded ? "Unfold the downloads" : "Fold the downloads"}
          expanded={!folded}
          onClick={() => setFolded(!folded)}
        />
        <IconButton
          icon={HiX}
          label="Clear the list"
          onClick={onClear}
          disabledReason={running === downloads.length ? "all are running" : null}
        />
      </div>
      {!folded && (
        <ul className="scroll-thin min-h-0 flex-1 overflow-y-auto">
          {downloads.toReversed().map((one) => (
            <Item key={one.id} download={one} onRemove={onRemove} onAgain={onAgain} />
          ))}
        </ul>
      )}
    </section>
  );
}

function Item({
  download,
  onRemove,
  onAgain,
}: {
  download: Download;
  onRemove: (id: number) => void;
  onAgain: (download: Download) => void;
}) {
  const { state, name, received, total, bps } = download;
  return (
    <li className="border-b border-line px-3.5 py-2 text-sm last:border-b-0">
      <div className="flex items-center gap-2">
        {state === "done" && (
          <HiCheckCircle className="size-4 flex-none text-ok" aria-label="Done" />
        )}
        {state === "failed" && (
          <HiExclamationCircle className="size-4 flex-none text-bad" aria-label="Failed" />
        )}
        {state === "handed" && (
          <HiExternalLink className="size-4 flex-none text-accent" aria-label="Handed over" />
        )}
        <span className="min-w-0 flex-1 truncate font-medium" title={name}>
          {name}
        </span>
        {state === "failed" && (
          <IconButton
            size="xs"
            icon={HiOutlineRefresh}
            label={`Try ${name} again`}
            onClick={() => onAgain(download)}
          />
        )}
        <IconButton
          size="xs"
          icon={HiX}
          label={state === "running" ? `Cancel ${name}` : `Remove ${name} from the list`}
          onClick={() => onRemove(download.id)}
        />
      </div>
      {state === "running" && (
        <Progress
          className="mt-1"
          size="sm"
          label={`Download of ${name}`}
          value={total ? (100 * received) / total : null}
        />
      )}
      <p className="mt-0.5 text-xs tabular-nums text-ink-3">
        {state === "running" &&
          [total ? `${bytes(received)} of ${bytes(total)}` : bytes(received), bps && rate(bps)]
            .filter(Boolean)
            .join(" · ")}
        {state === "done" && bytes(received)}
        {state === "failed" && <span className="text-bad">{download.problem}</span>}
        {state === "handed" && "The browser downloads it: see its own list"}
      </p>
    </li>
  );
}
