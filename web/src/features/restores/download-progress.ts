// How far a download is, as far as that can be told. No React here.

import { bytes } from "../../ui/format";

export interface Download {
  id: number;
  name: string;
  address: string;
  /** Bytes; null for an archive, which is measured only when it is made. */
  total: number | null;
  /** Of an archive: bytes of the files that go into it, when they could be counted. */
  atMost: number | null;
  received: number;
  bps: number;
  /** No byte has come for a while. */
  waiting: boolean;
  state: "running" | "done" | "failed" | "handed";
  problem: string;
}

const ALMOST = 99;

/** Percent; an archive that compresses badly is larger than its files, and never done before its
 * end. */
export function progressOf({ received, total, atMost }: Download): number | null {
  if (total) return (100 * received) / total;
  return atMost ? Math.min(ALMOST, (100 * received) / atMost) : null;
}

export function amountOf({ received, total, atMost }: Download): string {
  if (total) return `${bytes(received)} of ${bytes(total)}`;
  return atMost ? `${bytes(received)} of up to ${bytes(atMost)}` : bytes(received);
}
