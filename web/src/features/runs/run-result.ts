// What a run of maintenance has found or done, in words. No React here.

import { bytes, count, plural } from "../../ui/format";

export interface RunResult {
  title: string;
  facts: Array<[string, string]>;
}

type Values = Readonly<Record<string, unknown>>;

/** Null for a run that has no result of this kind, or none that is understood. */
export function resultOf(run: { kind: string; result: Values }): RunResult | null {
  const { result } = run;
  switch (run.kind) {
    case "check":
      return {
        title: result.read_data ? "All stored data is sound" : "Every restore point is complete",
        facts: facts([
          ["Restore points", number(result.points)],
          ["Packs", number(result.packs)],
          ["Stored", size(result.pack_bytes)],
          ["Chunks", number(result.chunks)],
        ]),
      };
    case "verify":
      return {
        title: "What was read is sound",
        facts: facts([
          ["Packs read", number(result.packs)],
          ["Left out", number(result.skipped_packs)],
          ["Data read", size(result.read_bytes)],
        ]),
      };
    case "prune":
      return pruned(result);
    case "compact":
      return compacted(result);
    case "copy":
      return {
        title: listed(result.copied)
          ? `${plural(listed(result.copied), "restore point")} copied`
          : "Nothing was missing there",
        facts: facts([
          ["There already", String(listed(result.present))],
          ["Read here", size(result.read_bytes)],
          ["Stored there", size(result.stored_bytes)],
        ]),
      };
    case "repair":
      return {
        title:
          result.damaged_packs === 0 &&
          result.fetched_chunks === 0 &&
          numeric(result.mended_objects) === 0
            ? "Nothing is known to be damaged"
            : "Every restore point can be read in full",
        facts: facts([
          ["Objects put right", number(result.mended_objects)],
          ["Damaged packs", number(result.damaged_packs)],
          ["Chunks saved", number(result.saved_chunks)],
          ["Chunks fetched", number(result.fetched_chunks)],
          ["Stored", size(result.stored_bytes)],
        ]),
      };
    case "lock":
      return {
        title: typeof result.message === "string" ? result.message : "Nothing is to be locked",
        facts: facts([
          ["Objects", number(result.objects)],
          ["Renewed", number(result.renewed)],
        ]),
      };
    default:
      return null;
  }
}

function pruned(result: Values): RunResult {
  const deleted = listed(result.deleted);
  const spared = entries(result.spared);
  const compact = values(result.compact);
  return {
    title: deleted ? `${plural(deleted, "restore point")} deleted` : "Nothing was deleted",
    facts: facts([
      ["Kept after all", spared ? String(spared) : null],
      ["Given back now", compact ? size(compact.deleted_bytes) : null],
      ["Given back later", compact ? size(compact.tombstoned_bytes) : null],
    ]),
  };
}

function compacted(result: Values): RunResult {
  const now = numeric(result.deleted_bytes);
  const later = numeric(result.tombstoned_bytes);
  const waiting = Array.isArray(result.waiting) ? result.waiting.map(String) : [];
  return {
    title: now
      ? `${bytes(now)} given back`
      : later
        ? `${bytes(later)} will be given back`
        : "There was nothing to give back",
    facts: facts([
      ["Packs rewritten", number(result.rewritten_packs)],
      ["Given back now", size(result.deleted_bytes)],
      ["Given back later", size(result.tombstoned_bytes)],
      [
        "Immutable yet",
        numeric(result.locked_packs) ? plural(numeric(result.locked_packs), "pack") : null,
      ],
      ["Waits because", waiting.length > 0 ? waiting.join("; ") : null],
    ]),
  };
}

function facts(given: Array<[string, string | null]>): Array<[string, string]> {
  return given.filter((one): one is [string, string] => one[1] !== null);
}

function numeric(value: unknown): number {
  return typeof value === "number" ? value : 0;
}

function number(value: unknown): string | null {
  return typeof value === "number" ? count(value) : null;
}

function size(value: unknown): string | null {
  return typeof value === "number" ? bytes(value) : null;
}

function listed(value: unknown): number {
  return Array.isArray(value) ? value.length : 0;
}

function values(value: unknown): Values | null {
  return typeof value === "object" && value !== null && !Array.isArray(value)
    ? (value as Values)
    : null;
}

function entries(value: unknown): number {
  return Object.keys(values(value) ?? {}).length;
}
