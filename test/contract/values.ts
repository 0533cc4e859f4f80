/** Rooms and entries to try a disk with. */
import { ENTRY_HEADER_BYTES, encodeEntryHeader } from "../../src/protocol/entry.ts";
import { FrameType } from "../../src/protocol/frame.ts";
import type { Keep } from "../../src/relay/log/disk/store.ts";
import type { Run } from "../../src/relay/log/run.ts";

export const KEEP_ALL: Keep = { bytes: 0, entries: 0, seconds: 0 };
export const KEY = "ab".repeat(32);
export const OTHER = "cd".repeat(32);
export const ID = Uint8Array.from({ length: 16 }, (_, i) => i + 1);
export const OTHER_ID = new Uint8Array(16).fill(9);
/** Some time of a clock, in milliseconds. */
export const TIME = 1_700_000_000_000;

export const keyOf = (n: number) => n.toString(16).padStart(64, "0");

/** A run of `count` entries from number `first` on, each `size` bytes with its header. */
export function runOf(first: number, count = 1, size = 100): Run {
  const bytes = new Uint8Array(count * size).fill(first % 256);
  for (let i = 0; i < count; i++) {
    const [at, body] = [i * size, size - ENTRY_HEADER_BYTES];
    encodeEntryHeader(bytes, at, FrameType.ENTRY, first + i, 7, body);
  }
  return { first, next: first + count, bytes };
}
