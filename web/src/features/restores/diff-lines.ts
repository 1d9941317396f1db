// A unified diff as lines with their numbers on both sides. Pure.

export interface DiffLine {
  kind: "same" | "removed" | "added" | "gap" | "note";
  text: string;
  left: number | null;
  right: number | null;
}

const HUNK = /^@@ -(\d+)(?:,\d+)? \+(\d+)(?:,\d+)? @@/;

export function diffLines(diff: string): DiffLine[] {
  const lines: DiffLine[] = [];
  let left = 0;
  let right = 0;
  let begun = false;
  for (const text of diff.split("\n")) {
    const hunk = HUNK.exec(text);
    if (hunk) {
      left = Number(hunk[1]);
      right = Number(hunk[2]);
      begun = true;
      lines.push({ kind: "gap", text, left: null, right: null });
    } else if (!begun)
      continue; // The two headings.
    else if (text.startsWith("-"))
      lines.push({ kind: "removed", text: text.slice(1), left: left++, right: null });
    else if (text.startsWith("+"))
      lines.push({ kind: "added", text: text.slice(1), left: null, right: right++ });
    else if (text.startsWith(" "))
      lines.push({ kind: "same", text: text.slice(1), left: left++, right: right++ });
    else if (text.startsWith("\\"))
      lines.push({ kind: "note", text: text.slice(2), left: null, right: null });
  }
  return lines;
}
