import { describe, expect, it } from "vitest";
import { daysOf } from "./storage-days";

const sample = (at: string, used_bytes: number, logical_bytes: number) => ({
  at,
  used_bytes,
  logical_bytes,
  available_bytes: null,
  backup_count: 1,
});

describe("the days of a repository", () => {
  it("each have their last measurement", () => {
    const days = daysOf([
      sample("2026-03-01T10:00:00", 10, 20),
      sample("2026-03-01T18:00:00", 10, 40),
      sample("2026-03-02T09:00:00", 20, 60),
    ]);
    expect(days.map((one) => [one.day, one.dedup_ratio])).toEqual([
      ["2026-03-01", 4],
      ["2026-03-02", 3],
    ]);
  });

  it("have no deduplication while nothing is in it", () => {
    expect(daysOf([sample("2026-03-01T10:00:00", 10, 0)])[0]?.dedup_ratio).toBeNull();
    expect(daysOf([sample("2026-03-01T10:00:00", 0, 0)])[0]?.dedup_ratio).toBeNull();
    expect(daysOf([])).toEqual([]);
  });
});
