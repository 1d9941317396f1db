import { describe, expect, it } from "vitest";
import { resultOf } from "./run-result";

describe("the result of a run", () => {
  it("says what a check looked at", () => {
    const result = { sound: true, read_data: false, points: 3, packs: 12, pack_bytes: 2048 };
    expect(resultOf({ kind: "check", result })).toEqual({
      title: "Every restore point is complete",
      facts: [
        ["Restore points", "3"],
        ["Packs", "12"],
        ["Stored", "2.00 KiB"],
      ],
    });
    expect(resultOf({ kind: "check", result: { read_data: true } })?.title).toContain("sound");
  });

  it("counts what a prune deleted and what it spared", () => {
    const result = {
      deleted: ["a", "b"],
      spared: { c: "held: audit" },
      compact: { deleted_bytes: 0, tombstoned_bytes: 1024 },
    };
    expect(resultOf({ kind: "prune", result })).toEqual({
      title: "2 restore points deleted",
      facts: [
        ["Kept after all", "1"],
        ["Given back now", "0 B"],
        ["Given back later", "1.00 KiB"],
      ],
    });
    expect(resultOf({ kind: "prune", result: { deleted: [] } })?.title).toBe("Nothing was deleted");
  });

  it("tells space that is free from space that will be", () => {
    const title = (result: Record<string, unknown>) => resultOf({ kind: "compact", result })?.title;
    expect(title({ deleted_bytes: 1024, tombstoned_bytes: 2048 })).toBe("1.00 KiB given back");
    expect(title({ deleted_bytes: 0, tombstoned_bytes: 2048 })).toBe("2.00 KiB will be given back");
    expect(title({})).toBe("There was nothing to give back");
  });

  it("does not call a repository healed that had nothing", () => {
    const nothing = { damaged_packs: 0, fetched_chunks: 0, saved_chunks: 0, stored_bytes: 0 };
    expect(resultOf({ kind: "repair", result: nothing })?.title).toContain("Nothing");
    const mended = { ...nothing, mended_objects: 1 };
    expect(resultOf({ kind: "repair", result: mended })?.title).toContain("in full");
    const healed = { ...nothing, damaged_packs: 1, fetched_chunks: 4 };
    expect(resultOf({ kind: "repair", result: healed })?.title).toContain("in full");
  });

  it("has nothing to say of a backup", () => {
    expect(resultOf({ kind: "backup", result: {} })).toBeNull();
  });
});
