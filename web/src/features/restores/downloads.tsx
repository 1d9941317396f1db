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
import type { Download } from "./download-progress";
import { DownloadsList } from "./downloads-list";
import { downloadAddress, type FileEntry } from "./places";
import { handOver, LARGEST_HELD_BYTES, Refused, save, TooLarge, Transfer } from "./transfer";

interface Downloads {
  start: (mountId: string, entries: readonly FileEntry[], format?: "zip" | "tar.zst") => void;
}

const SHOWN_EVERY_MS = 250;
const WAITING_MS = 2000;
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
      change(id, {
        state: "running",
        problem: "",
        waiting: false,
        received: transfer.resumable ? transfer.received : 0,
      });
      // Without bytes nothing else would say that the speed is not what it was.
      const watch = setInterval(() => {
        if (performance.now() - shownAt > WAITING_MS) change(id, { bps: 0, waiting: true });
      }, WAITING_MS / 2);
      try {
        const blob = await transfer.run(abort.signal, () => {
          const now = performance.now();
          if (now - shownAt < SHOWN_EVERY_MS) return;
          const bps = Math.round((1000 * (transfer.received - shownBytes)) / (now - shownAt));
          shownAt = now;
          shownBytes = transfer.received;
          change(id, {
            received: transfer.received,
            total: transfer.total,
            atMost: transfer.atMost,
            bps,
            waiting: false,
          });
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
              : transfer.resumable
                ? "The connection broke off. It goes on where it stopped when you try again."
                : "The connection broke off. An archive begins anew when you try again.",
        });
      } finally {
        clearInterval(watch);
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
          atMost: null,
          received: 0,
          bps: 0,
          waiting: false,
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
        <DownloadsList
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
