/** Entries on their way: taken from clients, not committed yet. Laid out as frames; numbered at the end. */
import { ENTRY_HEADER_BYTES, encodeEntryHeader } from "../../protocol/entry.ts";
import { ProtocolError } from "../../protocol/errors.ts";
import { LENGTH_BYTES, readU32, writeU64 } from "../../protocol/frame.ts";
import type { Budget } from "./budget.ts";
import type { Run } from "./run.ts";

const LEAST_BYTES = 4096;
/** So much a room has in any case, so that others' rooms can't take it all: one entry of the largest. */
export const GUARANTEED_BYTES = 128 * 1024;
/** Bytes of entries on their way before clients are read more slowly. */
const CONGESTED_BYTES = 256 * 1024;
/** And before no more are taken: each of many clients has sent something meanwhile. */
const MOST_BYTES = 16 << 20;

const SEQ_AT = LENGTH_BYTES + 1;
const FROM_AT = SEQ_AT + 8;

export class Batch {
  readonly #budget: Budget;
  #frames = new Uint8Array(0);
  #bytes = 0;
  #count = 0;

  constructor(budget: Budget) {
    this.#budget = budget;
  }

  /** Bytes of all entries in it, with their headers. */
  get bytes(): number {
    return this.#bytes;
  }

  get count(): number {
    return this.#count;
  }

  /** Senders are to be read later: earlier where memory is short, so that nobody has to be refused. */
  get congested(): boolean {
    if (this.#bytes > CONGESTED_BYTES) return true;
    return this.#bytes > GUARANTEED_BYTES / 8 && !this.#budget.has(CONGESTED_BYTES);
  }

  /** Adds an entry, a copy of it. @throws ProtocolError "relay-full" without memory; nothing is added */
  add(type: number, from: number, source: Uint8Array, start: number, end: number): void {
    const total = ENTRY_HEADER_BYTES + end - start;
    this.#makeRoom(total);
    const at = this.#bytes;
    encodeEntryHeader(this.#frames, at, type, 0, from, end - start);
    this.#frames.set(source.subarray(start, end), at + ENTRY_HEADER_BYTES);
    this.#bytes += total;
    this.#count += 1;
  }

  #makeRoom(bytes: number): void {
    const least = this.#bytes + bytes;
    if (least <= this.#frames.length) return;
    const size = 2 ** Math.ceil(Math.log2(Math.max(LEAST_BYTES, least)));
    const more = size - this.#frames.length;
    if (size <= GUARANTEED_BYTES) this.#budget.force(more);
    else if (size > MOST_BYTES || !this.#budget.take(more)) {
      throw new ProtocolError("relay-full", "more comes than this relay can hold; try again later");
    }
    const grown = new Uint8Array(size);
    grown.set(this.#frames.subarray(0, this.#bytes));
    this.#frames = grown;
  }

  /** The end of the entry that begins at `at`. */
  #end(at: number): number {
    return at + LENGTH_BYTES + readU32(this.#frames, at);
  }

  /**
   * The first entries, numbered from `first` on: as many as fit into `bytes` bytes, at least one. The
   * result shares the batch's memory: it is good until something is taken from the batch.
   */
  run(first: number, bytes: number): Run {
    let [at, next] = [0, first];
    while (at < this.#bytes) {
      const end = this.#end(at);
      if (at > 0 && end > bytes) break;
      writeU64(this.#frames, at + SEQ_AT, next);
      at = end;
      next += 1;
    }
    return { first, next, bytes: this.#frames.subarray(0, at) };
  }

  /** All entries, numbered from `first` on, in runs of `bytes` bytes at most, or one entry. */
  runs(first: number, bytes: number): Run[] {
    const runs: Run[] = [];
    let [begin, from, next] = [0, first, first];
    for (let at = 0; at < this.#bytes; ) {
      const end = this.#end(at);
      if (at > begin && end - begin > bytes) {
        runs.push({ first: from, next, bytes: this.#frames.subarray(begin, at) });
        [begin, from] = [at, next];
      }
      writeU64(this.#frames, at + SEQ_AT, next);
      at = end;
      next += 1;
    }
    if (this.#bytes > begin) {
      runs.push({ first: from, next, bytes: this.#frames.subarray(begin, this.#bytes) });
    }
    return runs;
  }

  /** The connections that its entries are of. */
  senders(): Set<number> {
    const senders = new Set<number>();
    for (let at = 0; at < this.#bytes; at = this.#end(at)) {
      senders.add(readU32(this.#frames, at + FROM_AT));
    }
    return senders;
  }

  /** Takes out the first `count` entries. */
  drop(count: number): void {
    let at = 0;
    for (let i = 0; i < count; i++) at = this.#end(at);
    this.#frames.copyWithin(0, at, this.#bytes);
    this.#bytes -= at;
    this.#count -= count;
  }

  /** Takes out a connection's entries. */
  forget(from: number): void {
    let kept = 0;
    for (let at = 0; at < this.#bytes; ) {
      const end = this.#end(at);
      if (readU32(this.#frames, at + FROM_AT) === from) this.#count -= 1;
      else {
        this.#frames.copyWithin(kept, at, end);
        kept += end - at;
      }
      at = end;
    }
    this.#bytes = kept;
  }

  /** Takes out all, and gives back the memory where much less of it was needed this time. */
  clear(): void {
    const isRoomy = this.#frames.length > LEAST_BYTES && this.#bytes * 4 < this.#frames.length;
    this.#bytes = this.#count = 0;
    if (!isRoomy) return;
    this.#budget.give(this.#frames.length);
    this.#frames = new Uint8Array(0);
  }

  /** Gives all its memory back. */
  close(): void {
    this.#bytes = this.#count = 0;
    this.#budget.give(this.#frames.length);
    this.#frames = new Uint8Array(0);
  }
}
