"use client";

import { useEffect, useState, useSyncExternalStore } from "react";
import { ago, bytes, count, duration, exactBytes, exactTime, rate, shortTime } from "./format";

/** What was not measured or does not apply. */
export function Missing({ title = "Not known" }: { title?: string }) {
  return (
    <span className="text-ink-3" title={title}>
      –
    </span>
  );
}

export function Bytes({ value }: { value: number | null | undefined }) {
  if (value === null || value === undefined) return <Missing />;
  return (
    <span className="whitespace-nowrap tabular-nums" title={exactBytes(value)}>
      {bytes(value)}
    </span>
  );
}

export function Rate({ value }: { value: number | null | undefined }) {
  if (value === null || value === undefined) return <Missing />;
  return (
    <span className="whitespace-nowrap tabular-nums" title={`${count(value)} bytes a second`}>
      {rate(value)}
    </span>
  );
}

export function Duration({ seconds }: { seconds: number | null | undefined }) {
  if (seconds === null || seconds === undefined) return <Missing />;
  return (
    <span
      className="whitespace-nowrap tabular-nums"
      title={`${count(Math.round(seconds))} seconds`}
    >
      {duration(seconds)}
    </span>
  );
}

// One clock for all relative times: they change together, twice a minute.
let now = new Date();
const listeners = new Set<() => void>();
let timer: ReturnType<typeof setInterval> | undefined;
function subscribe(listener: () => void) {
  listeners.add(listener);
  timer ??= setInterval(() => {
    now = new Date();
    for (const each of listeners) each();
  }, 30_000);
  return () => {
    listeners.delete(listener);
    if (listeners.size === 0) {
      clearInterval(timer);
      timer = undefined;
    }
  };
}

export function useNow(): Date {
  return useSyncExternalStore(
    subscribe,
    () => now,
    () => now,
  );
}

/** Milliseconds now, once a second while it matters. */
export function useTick(active: boolean): number {
  const [at, setAt] = useState(() => Date.now());
  useEffect(() => {
    if (!active) return;
    const timer = setInterval(() => setAt(Date.now()), 1000);
    return () => clearInterval(timer);
  }, [active]);
  return at;
}

/** `12 min ago`; the whole instant on hover. */
export function Ago({
  time,
  never = "Never",
}: {
  time: string | null | undefined;
  never?: string;
}) {
  const current = useNow();
  if (!time) return <span className="text-ink-3">{never}</span>;
  const shown = new Date(Math.max(current.getTime(), Date.now()));
  return (
    <time
      dateTime={time}
      title={exactTime(time)}
      className="whitespace-nowrap tabular-nums"
      suppressHydrationWarning
    >
      {ago(time, shown)}
    </time>
  );
}

/** `26 Nov, 11:08`; the whole instant on hover. */
export function Moment({
  time,
  never = "Never",
}: {
  time: string | null | undefined;
  never?: string;
}) {
  if (!time) return <span className="text-ink-3">{never}</span>;
  return (
    <time dateTime={time} title={exactTime(time)} className="whitespace-nowrap tabular-nums">
      {shortTime(time)}
    </time>
  );
}

/** One line, cut with an ellipsis, the whole on hover. */
export function Truncated({ children, className }: { children: string; className?: string }) {
  return (
    <span className={`block min-w-0 truncate ${className ?? ""}`} title={children}>
      {children}
    </span>
  );
}
