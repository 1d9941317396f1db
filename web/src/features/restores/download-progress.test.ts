import { expect, test } from "vitest";
import { amountOf, type Download, progressOf } from "./download-progress";

const BEGUN: Download = {
  id: 1,
  name: "srv.zip",
  address: "/download",
  total: null,
  atMost: null,
  received: 500_000,
  bps: 0,
  waiting: false,
  state: "running",
  problem: "",
};

test("a file shows percent of its length", () => {
  const file = { ...BEGUN, total: 1_000_000 };
  expect(progressOf(file)).toBe(50);
  expect(amountOf(file)).toMatch(/ of /);
});

test("an archive shows what it has at most, and is not done before its end", () => {
  const archive = { ...BEGUN, atMost: 2_000_000 };
  expect(progressOf(archive)).toBe(25);
  expect(amountOf(archive)).toMatch(/ of up to .*iB$/);
  expect(progressOf({ ...archive, received: 2_100_000 })).toBe(99);
});

test("an archive that nobody could count shows what has come", () => {
  expect(progressOf(BEGUN)).toBeNull();
  expect(amountOf(BEGUN)).not.toContain("of");
});
