// Finishes `next build`: moves the inline scripts of every exported page into files, so that the
// service can answer with a Content-Security-Policy of `script-src 'self'`. Neighbouring scripts
// become one file; their order in the page stays. Run after the export, once.
import { createHash } from "node:crypto";
import { mkdir, readdir, readFile, writeFile } from "node:fs/promises";
import path from "node:path";

const root = path.resolve(import.meta.dirname, "../out");
const target = path.join(root, "_next/static/inline");
const INLINE = /(?:<script(?![^>]*\ssrc=)[^>]*>([\s\S]*?)<\/script>)+/g;
const ONE = /<script(?![^>]*\ssrc=)[^>]*>([\s\S]*?)<\/script>/g;

await mkdir(target, { recursive: true });
for (const entry of await readdir(root, { recursive: true, withFileTypes: true })) {
  if (!entry.isFile() || !entry.name.endsWith(".html")) continue;
  const file = path.join(entry.parentPath, entry.name);
  const pieces = [];
  const page = (await readFile(file, "utf8")).replace(INLINE, (group) => {
    const code = [...group.matchAll(ONE)].map((match) => match[1]).join("\n;");
    const name = `${createHash("sha256").update(code).digest("hex").slice(0, 20)}.js`;
    pieces.push([name, code]);
    return `<script src="/_next/static/inline/${name}"></script>`;
  });
  if (/<script(?![^>]*\ssrc=)/.test(page)) throw new Error(`${file} still has an inline script`);
  for (const [name, code] of pieces) await writeFile(path.join(target, name), code);
  await writeFile(file, page);
}
