// What was measured of a repository, one value a day. No React here.

import type { Schemas } from "@/api-client";

type Sample = Schemas["StoragePoint"];

export interface StorageDay {
  day: string;
  used_bytes: number;
  logical_bytes: number;
  dedup_ratio: number | null;
}

/** The last measurement of each day of the browser's zone. `samples`: oldest first. */
export function daysOf(samples: readonly Sample[]): StorageDay[] {
  const days = new Map<string, StorageDay>();
  for (const { at, used_bytes, logical_bytes } of samples) {
    const moment = new Date(at);
    const day = [
      moment.getFullYear(),
      String(moment.getMonth() + 1).padStart(2, "0"),
      String(moment.getDate()).padStart(2, "0"),
    ].join("-");
    days.set(day, {
      day,
      used_bytes,
      logical_bytes,
      dedup_ratio: used_bytes > 0 && logical_bytes > 0 ? logical_bytes / used_bytes : null,
    });
  }
  return [...days.values()];
}
