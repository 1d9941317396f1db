"use client";

import { useInfiniteQuery } from "@tanstack/react-query";
import { useEffect, useMemo, useRef, useState } from "react";
import { api, type Schemas, take } from "@/api-client";

export type Line = Schemas["LogInfo"];
export type Log = ReturnType<typeof useLog>;

const PAGE = 200;
export const KEPT = 5000;
const TAIL_MS = 2000;

interface LogQuery {
  q: string | undefined;
  level: string | undefined;
  run_id: string | undefined;
  vm_id: string | undefined;
  since: string | undefined;
}

function getLines(
  query: LogQuery & { cursor?: string | undefined; after_seq?: number | undefined },
) {
  return take(api.GET("/api/v1/logs", { params: { query: { limit: PAGE, ...query } as never } }));
}

/** Newest first: older pages on demand and, while following, what came since. */
export function useLog(query: LogQuery, live: boolean) {
  const name = JSON.stringify(query);
  const pages = useInfiniteQuery({
    queryKey: ["log-pages", name],
    queryFn: ({ pageParam }) => getLines({ ...query, cursor: pageParam }),
    initialPageParam: undefined as string | undefined,
    getNextPageParam: (last) => last.next_cursor ?? undefined,
    staleTime: Number.POSITIVE_INFINITY,
    gcTime: 0,
    refetchOnWindowFocus: false,
  });
  const [newer, setNewer] = useState<{ name: string; lines: Line[] }>({ name, lines: [] });
  const base = pages.data?.pages[0]?.newest_seq;
  const fresh = newer.name === name ? newer.lines : [];
  const after = Math.max(base ?? 0, fresh[0]?.seq ?? 0);
  const afterRef = useRef(after);
  afterRef.current = after;
  const ready = base !== undefined;
  useEffect(() => {
    if (!live || !ready) return;
    let stopped = false;
    const timer = setInterval(() => {
      if (document.hidden) return;
      getLines({ ...(JSON.parse(name) as LogQuery), after_seq: afterRef.current }).then(
        (page) => {
          if (stopped || page.entries.length === 0) return;
          const sorted = [...page.entries].sort((a, b) => b.seq - a.seq);
          setNewer((old) => {
            const known = old.name === name ? old.lines : [];
            const top = known[0]?.seq ?? 0;
            return {
              name,
              lines: [...sorted.filter((line) => line.seq > top), ...known].slice(0, KEPT),
            };
          });
        },
        () => undefined, // the banner tells of a lost connection; the next turn tries again
      );
    }, TAIL_MS);
    return () => {
      stopped = true;
      clearInterval(timer);
    };
  }, [live, ready, name]);
  const older = useMemo(
    () => pages.data?.pages.flatMap((page) => page.entries) ?? [],
    [pages.data],
  );
  return {
    lines: useMemo(() => [...fresh, ...older], [fresh, older]),
    error: pages.error,
    loading: pages.isPending,
    retry: () => void pages.refetch(),
    more: pages.hasNextPage && older.length < KEPT ? () => void pages.fetchNextPage() : null,
    fetchingMore: pages.isFetchingNextPage,
  };
}
