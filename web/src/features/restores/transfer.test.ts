// @vitest-environment node

import { afterEach, expect, test, vi } from "vitest";
import { Refused, Transfer } from "./transfer";

const BYTES = new Uint8Array(1000).map((_, at) => at % 251);

/** Answers ranges; the first answer breaks off after `cut` bytes. */
function serve(cut: number) {
  const asked: Array<string | null> = [];
  vi.stubGlobal("fetch", (_address: string, options: { headers: Record<string, string> }) => {
    const range = options.headers.range ?? null;
    asked.push(range);
    const from = Number(/bytes=(\d+)-/.exec(range ?? "")?.[1] ?? 0);
    const first = asked.length === 1;
    const rest = BYTES.subarray(from);
    const body = new ReadableStream({
      start(stream) {
        stream.enqueue(rest.slice(0, first ? cut : rest.length));
        stream.close();
      },
    });
    return Promise.resolve(
      new Response(body, {
        status: from > 0 ? 206 : 200,
        headers: { "content-length": String(rest.length) },
      }),
    );
  });
  return asked;
}

afterEach(() => vi.unstubAllGlobals());

const signal = new AbortController().signal;

test("what was cut off goes on where it broke", async () => {
  const asked = serve(400);
  const transfer = new Transfer("/file", true);
  await expect(transfer.run(signal, () => undefined)).rejects.toThrow(TypeError);
  expect(transfer.received).toBe(400);
  const blob = await transfer.run(signal, () => undefined);
  expect(asked).toEqual([null, "bytes=400-"]);
  expect(new Uint8Array(await new Response(blob).arrayBuffer())).toEqual(BYTES);
});

test("an archive begins again from its first byte", async () => {
  const asked = serve(400);
  const transfer = new Transfer("/archive", false);
  await expect(transfer.run(signal, () => undefined)).rejects.toThrow(TypeError);
  const blob = await transfer.run(signal, () => undefined);
  expect(asked).toEqual([null, null]);
  expect(blob.size).toBe(BYTES.length);
});

test("a refusal says what the service said", async () => {
  vi.stubGlobal("fetch", () =>
    Promise.resolve(Response.json({ detail: "the mount has expired" }, { status: 404 })),
  );
  const run = new Transfer("/file", true).run(signal, () => undefined);
  await expect(run).rejects.toThrow(Refused);
  await expect(run).rejects.toThrow("the mount has expired");
});

test("an archive says what its files hold when the service has counted them", async () => {
  vi.stubGlobal("fetch", () =>
    Promise.resolve(new Response(BYTES, { headers: { "x-holdfast-file-bytes": "4000" } })),
  );
  const transfer = new Transfer("/archive", false);
  await transfer.run(signal, () => undefined);
  expect([transfer.total, transfer.atMost]).toEqual([null, 4000]);
});
