import { expect, test } from "vitest";
import { diffLines } from "./diff-lines";

const DIFF = `--- 2026-01-01 00:00:00
+++ 2026-01-02 00:00:00
@@ -1,3 +1,3 @@
 listen 443
-workers 4
+workers 8
--- a line that begins like a heading
\\ No newline at end of file
`;

test("lines keep their numbers on both sides", () => {
  expect(
    diffLines(DIFF).map((line) => [line.kind, line.text, line.left, line.right].join("|")),
  ).toEqual([
    "gap|@@ -1,3 +1,3 @@||",
    "same|listen 443|1|1",
    "removed|workers 4|2|",
    "added|workers 8||2",
    "removed|-- a line that begins like a heading|3|",
    "note|No newline at end of file||",
  ]);
});

test("no difference is no lines", () => {
  expect(diffLines("")).toEqual([]);
});
