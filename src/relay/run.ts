/** Runs of entries: frames as clients read them, one after the other, with rising numbers. */
import { ENTRY_HEADER_BYTES } from "../protocol/entry.ts";
import { LENGTH_BYTES, readU32, readU64 } from "../protocol/frame.ts";

/** A run of entries: frames, the first of them with sequence number `first`. */
export interface Run {
  readonly first: number;
  /** Sequence number after the last. */
  readonly next: number;
  readonly bytes: Uint8Array;
}

/** The run that bytes from outside are, if they begin with entry `first` and are whole. */
export function asRun(first: number, bytes: Uint8Array): Run | undefined {
  let at = 0;
  let seq = first;
  while (at + ENTRY_HEADER_BYTES <= bytes.length && readU64(bytes, at + LENGTH_BYTES + 1) === seq) {
    at += LENGTH_BYTES + readU32(bytes, at);
    seq += 1;
  }
  return at === bytes.length ? { first, next: seq, bytes } : undefined;
}

/** The part of a run from entry `seq` on and before entry `end`. */
export function cut(run: Run, seq: number, end: number): Run {
  const first = Math.max(run.first, seq);
  const next = Math.min(run.next, end);
  let [at, begin] = [0, 0];
  for (let i = run.first; i < next; i++) {
    if (i === first) begin = at;
    at += LENGTH_BYTES + readU32(run.bytes, at);
  }
  return { first, next, bytes: run.bytes.subarray(begin, at) };
}

/** Runs that follow each other, as one. */
export function joined(runs: readonly Run[]): Run | undefined {
  const [first, last] = [runs[0], runs.at(-1)];
  if (first === undefined || last === undefined) return undefined;
  return { first: first.first, next: last.next, bytes: Buffer.concat(runs.map((r) => r.bytes)) };
}
