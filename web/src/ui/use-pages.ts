"use client";

import { keepPreviousData, useQuery, useQueryClient } from "@tanstack/react-query";
import { useEffect, useState } from "react";

/** First what was asked for is drawn. */
const AHEAD_AFTER_MS = 50;

interface ListPage<Row> {
  items: Row[];
  total: number;
  next_cursor?: string | null;
}

/** One page of a list on the service. Pages are walked by cursor; the next one is asked for ahead, so
 * that it is there when it is wanted. Another `key` starts at the first page again. */
export function usePages<Row>({
  key,
  fetchPage,
  pageSize = 50,
  refetchInterval,
}: {
  key: readonly unknown[];
  fetchPage: (limit: number, cursor: string | undefined) => Promise<ListPage<Row>>;
  pageSize?: number;
  refetchInterval?: number;
}) {
  const name = JSON.stringify(key);
  const [walked, setWalked] = useState<{ name: string; cursors: string[] }>({ name, cursors: [] });
  const cursors = walked.name === name ? walked.cursors : [];
  const cursor = cursors.at(-1);
  const client = useQueryClient();
  const pageAt = (place: string | undefined) => ({
    queryKey: [...key, { cursor: place, pageSize }],
    queryFn: () => fetchPage(pageSize, place),
  });
  const query = useQuery({
    ...pageAt(cursor),
    placeholderData: keepPreviousData,
    ...(refetchInterval ? { refetchInterval } : {}),
  });
  const next = query.data?.next_cursor;
  const ahead = query.isPlaceholderData ? null : next;
  // biome-ignore lint/correctness/useExhaustiveDependencies: `name` stands for the key and its page
  useEffect(() => {
    if (!ahead) return;
    const waiting = setTimeout(() => void client.prefetchQuery(pageAt(ahead)), AHEAD_AFTER_MS);
    return () => clearTimeout(waiting);
  }, [name, ahead, client]);
  return {
    rows: query.data?.items,
    total: query.data?.total,
    error: query.error,
    refetch: query.refetch,
    refreshing: query.isPlaceholderData,
    pager: {
      page: cursors.length,
      pageSize,
      shown: query.data?.items.length ?? 0,
      total: query.data?.total,
      hasNext: Boolean(next),
      onPrevious: () => setWalked({ name, cursors: cursors.slice(0, -1) }),
      onNext: () => {
        if (next) setWalked({ name, cursors: [...cursors, next] });
      },
    },
  };
}
