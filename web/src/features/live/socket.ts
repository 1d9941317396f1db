"use client";

// Live events. One connection for the page; `connectLive` opens it once somebody is signed in.
// Progress goes into `progress.ts`, changes invalidate what is cached of the noun.

import type { QueryClient } from "@tanstack/react-query";
import { useSyncExternalStore } from "react";
import { io, type Socket } from "socket.io-client";
import { isFinal, type ProgressUpdate, takeProgress } from "./progress";

export type Connection = "connecting" | "connected" | "lost";

let connection: Connection = "connecting";
const listeners = new Set<() => void>();

function setConnection(next: Connection) {
  if (connection === next) return;
  connection = next;
  for (const listener of listeners) listener();
}

export function useConnection(): Connection {
  return useSyncExternalStore(
    (listener) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    () => connection,
    () => "connecting",
  );
}

/** Which caches an event named `<noun>_changed` makes out of date. */
const TOUCHES: Record<string, string[]> = {
  backup: ["backups", "vms", "overview", "monitoring"],
  run: ["runs", "backups", "vms", "overview", "monitoring"],
  vm: ["vms", "overview", "discovery"],
  platform: ["platforms", "overview"],
  repository: ["repositories", "backups", "overview"],
  machine_group: ["machine_groups", "vms", "backups", "overview"],
  mount: ["mounts"],
  log: ["logs"],
  user: ["users", "session"],
  token: ["tokens"],
  notification: ["notifications"],
  worker: ["monitoring"],
  settings: ["settings"],
};

const GATHER_MS = 50;
const LEAST_MS = 500;

/** Refetches what became out of date: soon after the first event, together with those that come with
 * it, and at most twice a second. */
export function makeInvalidator(client: Pick<QueryClient, "invalidateQueries">) {
  const waiting = new Set<string>();
  let before = 0;
  return (keys: Iterable<string>) => {
    const idle = waiting.size === 0;
    for (const key of keys) waiting.add(key);
    if (!idle || waiting.size === 0) return;
    const left = Math.min(LEAST_MS, before + LEAST_MS - Date.now());
    setTimeout(
      () => {
        before = Date.now();
        const due = [...waiting];
        waiting.clear();
        for (const key of due) void client.invalidateQueries({ queryKey: [key] });
      },
      Math.max(GATHER_MS, left),
    );
  };
}

export function connectLive(client: QueryClient): () => void {
  const invalidate = makeInvalidator(client);
  const socket: Socket = io({
    path: "/socket.io",
    transports: ["websocket", "polling"],
    // The service is a machine one administers, not a public site: asking often costs little.
    reconnectionDelay: 250,
    reconnectionDelayMax: 2000,
    timeout: 5000,
  });
  let before = false;
  let lost: ReturnType<typeof setTimeout> | undefined;
  const losing = () => {
    // A change of network or a restart of the service that lasts a moment is not worth a banner.
    lost ??= setTimeout(() => setConnection("lost"), 2500);
  };
  // A laptop was opened, a network came back: browsers slow the timers of hidden pages down to one
  // a minute, so do not wait for the next attempt.
  const hurry = () => {
    if (document.visibilityState === "visible" && !socket.connected) socket.disconnect().connect();
  };
  window.addEventListener("online", hurry);
  document.addEventListener("visibilitychange", hurry);
  socket.on("connect", () => {
    clearTimeout(lost);
    lost = undefined;
    const missed = before || connection === "lost";
    setConnection("connected");
    if (missed) void client.invalidateQueries(); // whatever happened meanwhile
    before = true;
  });
  socket.on("disconnect", losing);
  socket.on("connect_error", losing);
  socket.onAny((event: string, payload: unknown) => {
    const [, noun, what] = /^([a-z_]+)_(progress|changed)$/.exec(event) ?? [];
    if (!noun) return;
    if (what === "changed") {
      invalidate(TOUCHES[noun] ?? [`${noun}s`]);
      return;
    }
    const update = payload as ProgressUpdate;
    const changed = takeProgress(update);
    if (changed || isFinal(update.status)) invalidate(TOUCHES.run ?? []);
  });
  return () => {
    clearTimeout(lost);
    window.removeEventListener("online", hurry);
    document.removeEventListener("visibilitychange", hurry);
    socket.removeAllListeners();
    socket.close();
    setConnection("connecting");
  };
}
