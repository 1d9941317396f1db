import { describe, expect, it } from "vitest";
import { ago, bytes, duration, exactBytes, percent, ratio, shortTime, words } from "./format";

describe("bytes", () => {
  it.each([
    [0, "0 B"],
    [999, "999 B"],
    [1000, "0.98 KiB"],
    [1024, "1.00 KiB"],
    [10 * 1024, "10.0 KiB"],
    [999.4 * 1024, "999 KiB"],
    [999.6 * 1024, "0.98 MiB"],
    [5 * 1024 ** 4, "5.00 TiB"],
    [2000 * 1024 ** 5, "2000 PiB"],
    [-2048, "−2.00 KiB"],
  ])("%d is %s", (value, text) => expect(bytes(value)).toBe(text));
  it("keeps the exact value", () => expect(exactBytes(1_234_567)).toBe("1,234,567 bytes"));
});

describe("duration", () => {
  it.each([
    [0, "0 s"],
    [0.4, "< 1 s"],
    [0.96, "1 s"],
    [59.4, "59 s"],
    [59.6, "1 min 00 s"],
    [185, "3 min 05 s"],
    [7800, "2 h 10 min"],
    [3 * 86_400 + 3700, "3 d 1 h"],
  ])("%d s is %s", (seconds, text) => expect(duration(seconds)).toBe(text));
});

describe("ago", () => {
  const now = new Date("2026-11-26T12:00:00Z");
  it.each([
    ["2026-11-26T11:59:40Z", "just now"],
    ["2026-11-26T11:48:00Z", "12 min ago"],
    ["2026-11-26T09:00:00Z", "3 h ago"],
    ["2026-11-25T12:00:00Z", "yesterday"],
    ["2026-11-21T12:00:00Z", "5 days ago"],
    ["2026-11-26T15:00:00Z", "in 3 h"],
    ["2026-11-27T12:00:00Z", "tomorrow"],
    ["2026-09-01T12:00:00Z", "1 Sept"],
    ["2025-09-01T12:00:00Z", "1 Sept 2025"],
  ])("%s is %s", (time, text) => expect(ago(time, now)).toBe(text));
  it("counts days as calendars do", () => {
    const evening = new Date(2026, 10, 26, 20);
    expect(ago(new Date(2026, 10, 25, 6), evening)).toBe("yesterday");
    expect(ago(new Date(2026, 10, 24, 23), evening)).toBe("2 days ago");
  });
});

it("says times, shares and names", () => {
  const now = new Date("2026-11-26T12:00:00");
  expect(shortTime(new Date("2026-11-26T09:05:00"), now)).toBe("26 Nov, 09:05");
  expect(percent(3.14)).toBe("3.1%");
  expect(percent(42.4)).toBe("42%");
  expect(ratio(3.456)).toBe("3.46×");
  expect(words("shut_off")).toBe("Shut off");
});
