"use client";

import type { UseQueryResult } from "@tanstack/react-query";
import type { ReactNode } from "react";
import { failureOf } from "@/api-client";
import { Card } from "@/ui/card";
import { EmptyState, ErrorState, SkeletonLines } from "@/ui/states";

/** A form over settings that must be read first: shown when they are there, else why not. */
export function SettingsCard<Settings>({
  query,
  denied,
  lines,
  children,
}: {
  query: UseQueryResult<Settings>;
  denied: string | null;
  /** Of the placeholder. */
  lines: number;
  children: (settings: Settings) => ReactNode;
}) {
  return (
    <Card className="max-w-2xl">
      {denied ? (
        <EmptyState compact title="Not shown">
          {denied}
        </EmptyState>
      ) : query.data ? (
        children(query.data)
      ) : query.error ? (
        <ErrorState compact failure={failureOf(query.error)} onRetry={() => query.refetch()} />
      ) : (
        <SkeletonLines lines={lines} />
      )}
    </Card>
  );
}
