import { describe, expect, it } from "vitest";
import { countTicks, sizeTicks, tickSize, timeTicks } from "./ticks";

const MIB = 1024 ** 2;
const GIB = 1024 ** 3;

describe("sizeTicks", () => {
  it.each([
    [0, ["0 B"]],
    [3, ["0 B", "1 B", "2 B", "3 B"]],
    [95.4 * MIB, ["0 B", "50 MiB", "100 MiB"]],
    [380 * MIB, ["0 B", "100 MiB", "200 MiB", "300 MiB", "400 MiB"]],
    [1.4 * GIB, ["0 B", "512 MiB", "1 GiB", "1.5 GiB"]],
    [4.1 * GIB, ["0 B", "2 GiB", "4 GiB", "6 GiB"]],
  ])("up to %d", (largest, shown) => expect(sizeTicks(largest).map(tickSize)).toEqual(shown));
  it("reaches every value with at most five marks", () => {
    for (let value = 1; value < 1024 ** 4; value = value * 1.37 + 1) {
      const ticks = sizeTicks(value);
      expect(ticks.at(-1)).toBeGreaterThanOrEqual(value);
      expect(ticks.length).toBeLessThanOrEqual(5);
    }
  });
});

describe("countTicks", () => {
  it.each([
    [0, [0]],
    [0.8, [0, 1]],
    [3.2, [0, 1, 2, 3, 4]],
    [26.6, [0, 10, 20, 30]],
    [801, [0, 500, 1000]],
  ])("up to %d", (largest, ticks) => expect(countTicks(largest)).toEqual(ticks));
});

describe("timeTicks", () => {
  it.each([
    [1.6, 7.2, [2, 3, 4, 5, 6, 7]],
    [0, 31, [0, 10, 20, 30]],
    [2, 290, [60, 120, 180, 240]],
    [0, 7 * 3600, [0, 7200, 14_400, 21_600]],
    [5, 5, [5]],
  ])("from %d to %d", (from, to, ticks) => expect(timeTicks(from, to)).toEqual(ticks));
  it("never has more than seven marks", () => {
    for (let end = 1; end < 40 * 86_400; end = end * 1.21 + 1)
      expect(timeTicks(end / 50, end).length).toBeLessThanOrEqual(7);
  });
});
