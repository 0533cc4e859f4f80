/** Runs of entries: frames as clients read them, one after the other, with rising numbers. */
import { ENTRY_HEADER_BYTES } from "../../protocol/entry.ts";
import { LENGTH_BYTES, readU32 } from "../../protocol/frame.ts";

const SEQ_AT = LENGTH_BYTES + 1;

/** A run of entries: frames, the first of them with sequence number `first`. */
export interface Run {
  readonly first: number;
  /** Sequence number after the last. */
  readonly next: number;
  readonly bytes: Uint8Array;
}

/** The run that bytes from outside are, if they begin with entry `first` and are whole entries in order. */
export function asRun(first: number, bytes: Uint8Array): Run | undefined {
  let at = 0;
  let seq = first;
  while (at + ENTRY_HEADER_BYTES <= bytes.length && Number.isSafeInteger(seq)) {
    const length = readU32(bytes, at);
    // Compared in halves: a number above 2^53 is no entry's, and nothing to throw for.
    const high = readU32(bytes, at + SEQ_AT);
    const low = readU32(bytes, at + SEQ_AT + 4);
    if (length < ENTRY_HEADER_BYTES - LENGTH_BYTES || high * 2 ** 32 + low !== seq) break;
    at += LENGTH_BYTES + length;
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
