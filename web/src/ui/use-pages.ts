"use client";

import { keepPreviousData, useQuery } from "@tanstack/react-query";
import { useState } from "react";

interface ListPage<Row> {
  items: Row[];
  total: number;
  next_cursor?: string | null;
}

/** One page of a list on the service. Pages are walked by cursor, so no more than one is in memory.
 * Another `key` starts at the first page again. */
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
  const query = useQuery({
    queryKey: [...key, { cursor, pageSize }],
    queryFn: () => fetchPage(pageSize, cursor),
    placeholderData: keepPreviousData,
    ...(refetchInterval ? { refetchInterval } : {}),
  });
  const next = query.data?.next_cursor;
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
