// One download as bytes arrive: counted, cancelled, taken up again. What is saved at the end is a Blob,
// put together in steps so that the browser can move it to disk. No React here.

/** Above this the browser's own download takes over: a page must not hold it. */
export const LARGEST_HELD_BYTES = 1024 ** 3;
const STEP_BYTES = 32 * 1024 ** 2;

export class TooLarge extends Error {}

export class Refused extends Error {
  readonly status: number;
  constructor(status: number, detail: string) {
    super(detail);
    this.status = status;
  }
}

export class Transfer {
  received = 0;
  total: number | null = null;
  /** What the files of an archive hold together, if the service told: it has about so many bytes at
   * most. */
  atMost: number | null = null;
  private whole = new Blob();
  private loose: Uint8Array<ArrayBuffer>[] = [];
  private looseBytes = 0;

  /** `resumable`: the address answers ranges, so that a second `run` goes on where it broke off. */
  constructor(
    private readonly address: string,
    readonly resumable: boolean,
  ) {}

  /** Throws TooLarge, Refused, TypeError when the network fails, AbortError. */
  async run(signal: AbortSignal, onBytes: () => void): Promise<Blob> {
    if (!this.resumable) this.forget();
    const from = this.received;
    const answer = await fetch(this.address, {
      signal,
      headers: from > 0 ? { range: `bytes=${from}-` } : {},
    });
    if (!answer.ok || !answer.body) throw new Refused(answer.status, await detailOf(answer));
    if (from > 0 && answer.status !== 206) this.forget();
    const length = Number(answer.headers.get("content-length"));
    this.total = length > 0 ? this.received + length : null;
    const held = Number(answer.headers.get("x-holdfast-file-bytes"));
    this.atMost = this.total === null && held > 0 ? held : null;
    if ((this.total ?? 0) > LARGEST_HELD_BYTES) {
      await answer.body.cancel();
      throw new TooLarge();
    }
    const reader = answer.body.getReader();
    for (;;) {
      const { done, value } = await reader.read();
      if (done) break;
      this.loose.push(value);
      this.looseBytes += value.length;
      this.received += value.length;
      if (this.received > LARGEST_HELD_BYTES) {
        await reader.cancel();
        throw new TooLarge();
      }
      if (this.looseBytes > STEP_BYTES) this.gather();
      onBytes();
    }
    if (this.total !== null && this.received < this.total) throw new TypeError("cut off");
    this.gather();
    return this.whole;
  }

  forget() {
    this.received = 0;
    this.whole = new Blob();
    this.loose = [];
    this.looseBytes = 0;
  }

  private gather() {
    this.whole = new Blob([this.whole, ...this.loose]);
    this.loose = [];
    this.looseBytes = 0;
  }
}

async function detailOf(answer: Response): Promise<string> {
  try {
    const problem: unknown = await answer.json();
    if (typeof problem === "object" && problem !== null && "detail" in problem)
      return String(problem.detail);
  } catch {
    // Not a problem document.
  }
  return `The service answered with status ${answer.status}.`;
}

/** Gives it to the browser to save. */
export function save(blob: Blob, name: string) {
  const address = URL.createObjectURL(blob);
  click(address, name);
  setTimeout(() => URL.revokeObjectURL(address), 60_000);
}

/** Lets the browser download it by itself. */
export function handOver(address: string) {
  click(address, "");
}

function click(address: string, name: string) {
  const link = document.createElement("a");
  link.href = address;
  link.download = name;
  document.body.append(link);
  link.click();
  link.remove();
}
