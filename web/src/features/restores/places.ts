// Where something is inside a guest. Names are bytes there: a path that is not text goes as URL-safe
// base64 of its bytes (`b64`), and only then. Nothing here knows React or the service.

import type { Schemas } from "@/api-client";

export type FileEntry = Schemas["FileEntry"];

export interface Place {
  /** Absolute, beginning with the volume; `/` is the list of volumes. For people when `b64` is there. */
  path: string;
  b64?: string | undefined;
}

export const ROOT: Place = { path: "/" };

export function placeOf(entry: Pick<FileEntry, "path" | "path_b64">): Place {
  return entry.path_b64 ? { path: entry.path, b64: entry.path_b64 } : { path: entry.path };
}

/** One text for a place, for keys and sets. */
export function keyOf(place: Place): string {
  return place.b64 ? `b64:${place.b64}` : place.path;
}

/** As the service takes it. */
export function queryOf(place: Place): { path: string } | { path_b64: string } {
  return place.b64 ? { path_b64: place.b64 } : { path: place.path };
}

function fromBase64(text: string): Uint8Array {
  const plain = text.replaceAll("-", "+").replaceAll("_", "/");
  return Uint8Array.from(atob(plain), (letter) => letter.charCodeAt(0));
}

function toBase64(bytes: Uint8Array): string {
  const plain = btoa(Array.from(bytes, (byte) => String.fromCharCode(byte)).join(""));
  return plain.replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}

const strict = new TextDecoder("utf-8", { fatal: true });
const lenient = new TextDecoder();

function placeOfBytes(bytes: Uint8Array): Place {
  try {
    return { path: strict.decode(bytes) };
  } catch {
    return { path: lenient.decode(bytes), b64: toBase64(bytes) };
  }
}

/** From the volume down to the place itself, each with its name; empty for the root. */
export function trailOf(place: Place): Array<{ name: string; place: Place }> {
  const bytes = place.b64 ? fromBase64(place.b64) : new TextEncoder().encode(place.path);
  const trail: Array<{ name: string; place: Place }> = [];
  let begin = 1;
  for (let at = 1; at <= bytes.length; at += 1) {
    if (at < bytes.length && bytes[at] !== 0x2f) continue;
    if (at > begin)
      trail.push({
        name: lenient.decode(bytes.subarray(begin, at)),
        place: placeOfBytes(bytes.subarray(0, at)),
      });
    begin = at + 1;
  }
  return trail;
}

export function parentOf(place: Place): Place {
  return trailOf(place).at(-2)?.place ?? ROOT;
}

export function nameOf(place: Place): string {
  return trailOf(place).at(-1)?.name ?? "/";
}

/** The address of a download: one file as it is, everything else as an archive. */
export function downloadAddress(
  mountId: string,
  entries: ReadonlyArray<Pick<FileEntry, "path" | "path_b64">>,
  format?: "zip" | "tar.zst",
): string {
  const query = new URLSearchParams();
  for (const entry of entries) {
    for (const [name, value] of Object.entries(queryOf(placeOf(entry)))) query.append(name, value);
  }
  if (format) query.set("format", format);
  return `/api/v1/restore/${encodeURIComponent(mountId)}/download?${query}`;
}
