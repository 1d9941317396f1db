"use client";

import { usePathname, useSearchParams } from "next/navigation";
import { useCallback, useEffect, useRef, useState, useSyncExternalStore } from "react";

/** Filters, tabs and the chosen VM live in the address: a reload or a shared link shows the same. */
export function useUrlState() {
  const search = useSearchParams();
  const get = useCallback((name: string) => search.get(name) ?? "", [search]);
  const set = useCallback(
    (changes: Record<string, string | null>, history: "push" | "replace" = "replace") => {
      const next = new URLSearchParams(window.location.search);
      for (const [name, value] of Object.entries(changes)) {
        if (value) next.set(name, value);
        else next.delete(name);
      }
      const text = next.toString();
      const address = `${window.location.pathname}${text ? `?${text}` : ""}`;
      if (address === `${window.location.pathname}${window.location.search}`) return;
      window.history[history === "push" ? "pushState" : "replaceState"](null, "", address);
    },
    [],
  );
  return { get, set };
}

const never = () => () => undefined;

/** The last part of a path such as `/backups/{id}`. The export has one page `_` for every id, so the
 * id is known only in the browser: undefined until then. */
export function usePathId(): string | undefined {
  const pathname = usePathname();
  const inBrowser = useSyncExternalStore(
    never,
    () => true,
    () => false,
  );
  if (!inBrowser) return undefined;
  const last = decodeURIComponent(pathname.split("/").filter(Boolean).at(-1) ?? "");
  return last === "_"
    ? decodeURIComponent(window.location.pathname.split("/").filter(Boolean).at(-1) ?? "")
    : last;
}

/** A text field's value at once and, a moment after the last key, in the address. */
export function useSearchText(name = "q"): [string, (text: string) => void, string] {
  const { get, set } = useUrlState();
  const settled = get(name);
  const [text, setText] = useState(settled);
  const timer = useRef<ReturnType<typeof setTimeout>>(undefined);
  const own = useRef(settled);
  useEffect(() => {
    if (settled !== own.current) {
      own.current = settled;
      setText(settled);
    }
  }, [settled]);
  useEffect(() => () => clearTimeout(timer.current), []);
  const change = useCallback(
    (next: string) => {
      setText(next);
      clearTimeout(timer.current);
      timer.current = setTimeout(
        () => {
          own.current = next;
          set({ [name]: next || null });
        },
        next ? 200 : 0,
      );
    },
    [name, set],
  );
  return [text, change, settled];
}

export function useMediaQuery(query: string): boolean {
  return useSyncExternalStore(
    (listener) => {
      const media = matchMedia(query);
      media.addEventListener("change", listener);
      return () => media.removeEventListener("change", listener);
    },
    () => matchMedia(query).matches,
    () => false,
  );
}

/** A choice of this browser, such as a folded panel. */
export function useKept(key: string, first: string): [string, (value: string) => void] {
  const name = `holdfast.${key}`;
  const [value, setValue] = useState(first);
  useEffect(() => {
    try {
      setValue(localStorage.getItem(name) ?? first);
    } catch {
      // No storage: the choice lasts until the page is closed.
    }
  }, [name, first]);
  const keep = useCallback(
    (next: string) => {
      setValue(next);
      try {
        localStorage.setItem(name, next);
      } catch {
        // as above
      }
    },
    [name],
  );
  return [value, keep];
}
