"use client";

import { useCallback } from "react";
import { useUrlState } from "@/ui/url-state";

/** The VM that the context panel shows, kept in the address as `?vm=ID`. */
export function useSelectedVm(): [string | null, (id: string | null) => void] {
  const { get, set } = useUrlState();
  const select = useCallback((id: string | null) => set({ vm: id }), [set]);
  return [get("vm") || null, select];
}
