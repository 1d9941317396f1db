// Where the axes of charts are marked: at values that people count in. Nothing here knows React.

import { bytes } from "./format";

const SIZES = [1, 2, 5, 10, 20, 50, 100, 200, 256, 512, 1024];
const MINUTE = 60;
const HOUR = 3600;
const TIMES = [
  ...[1, 2, 5, 10, 15, 30],
  ...[1, 2, 5, 10, 15, 30].map((minutes) => minutes * MINUTE),
  ...[1, 2, 4, 6, 12, 24].map((hours) => hours * HOUR),
];

/** Bytes, round in the binary unit that they are told in: at most five, from zero to `largest` or
 * just above. */
export function sizeTicks(largest: number): number[] {
  if (largest <= 0) return [0];
  const rough = Math.max(1, largest / 4);
  const unit = 1024 ** Math.floor(Math.log(rough) / Math.log(1024));
  const step = unit * (SIZES.find((size) => size * unit >= rough) ?? 1024);
  return Array.from({ length: Math.ceil(largest / step) + 1 }, (_, place) => place * step);
}

/** Counts and ratios: at most five whole numbers, from zero to `largest` or just above. */
export function countTicks(largest: number): number[] {
  const rough = Math.max(1, largest / 4);
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * ([1, 2, 5].find((size) => size * power >= rough) ?? 10);
  return Array.from({ length: Math.ceil(largest / step) + 1 }, (_, place) => place * step);
}

/** `100 MiB`, not `100.0 MiB`. */
export function tickSize(value: number): string {
  return bytes(value)
    .replace(/(\.\d*?)0+ /, "$1 ")
    .replace(". ", " ");
}

/** Seconds between two, round as clocks are: at most seven. */
export function timeTicks(from: number, to: number): number[] {
  const step =
    TIMES.find((seconds) => (to - from) / seconds <= 6) ??
    Math.ceil((to - from) / 6 / (24 * HOUR)) * 24 * HOUR;
  const first = Math.ceil(from / step);
  const last = Math.floor(to / step);
  return Array.from(
    { length: Math.max(0, last - first + 1) },
    (_, place) => (first + place) * step,
  );
}
