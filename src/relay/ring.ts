/**
 * A room's log: a bounded ring of entries, laid out once as the frames that clients read.
 *
 * Positions are absolute byte counts since the log began; a position modulo the capacity is the
 * place in the buffer. An entry may lie across the buffer's end, since clients read a byte stream:
 * such a slice takes two writes instead of one.
 */
import { ENTRY_HEADER_BYTES, encodeEntryHeader } from "../protocol/entry.ts";
import { LENGTH_BYTES, readU32 } from "../protocol/frame.ts";

/** One slot of the index for so many bytes of the ring: smaller entries fill the index first. */
const BYTES_PER_SLOT = 64;

/** Node's Buffer.copy: unlike set(), it needs no view, which would be garbage for every message. */
const copyBytes = Buffer.prototype.copy as (
  this: Uint8Array,
  target: Uint8Array,
  at: number,
  start: number,
  end: number,
) => number;

export class Ring {
  /** The entries' bytes. Readers take slices of it and change nothing. */
  readonly bytes: Uint8Array;
  readonly capacity: number;
  readonly #mask: number;
  /** Where the entry with sequence number s begins, at s modulo the number of slots. */
  readonly #starts: Float64Array;
  readonly #slotMask: number;
  readonly #header = new Uint8Array(ENTRY_HEADER_BYTES);
  #oldestSeq = 1;
  #nextSeq = 1;
  #tail = 0;
  #head = 0;
  /** The head's place in the buffer. */
  #headPlace = 0;

  /** @param capacity bytes; rounded up to a power of two, at least 4,096 */
  constructor(capacity: number) {
    this.capacity = 2 ** Math.ceil(Math.log2(Math.max(4096, capacity)));
    this.#mask = this.capacity - 1;
    this.bytes = new Uint8Array(this.capacity);
    const slots = this.capacity / BYTES_PER_SLOT;
    this.#starts = new Float64Array(slots);
    this.#slotMask = slots - 1;
  }

  /** Sequence number of the oldest entry held; equals `nextSeq` when none is. */
  get oldestSeq(): number {
    return this.#oldestSeq;
  }

  /** Sequence number that the next entry will get; the first ever is 1. */
  get nextSeq(): number {
    return this.#nextSeq;
  }

  /** Position of the oldest byte held. */
  get tail(): number {
    return this.#tail;
  }

  /** Position after the newest byte. */
  get head(): number {
    return this.#head;
  }

  /** The place of a position in `bytes`. */
  place(position: number): number {
    return position % this.capacity;
  }

  /**
   * Appends an entry whose body is `source` from `start` to `end`, overwriting the oldest ones.
   * @returns its sequence number
   */
  append(type: number, from: number, source: Uint8Array, start: number, end: number): number {
    const total = ENTRY_HEADER_BYTES + end - start;
    while (
      this.#head + total - this.#tail > this.capacity ||
      this.#nextSeq - this.#oldestSeq > this.#slotMask
    ) {
      this.#oldestSeq += 1;
      this.#tail = this.positionOf(this.#oldestSeq);
    }
    const seq = this.#nextSeq;
    this.#starts[seq & this.#slotMask] = this.#head;
    if (this.#headPlace + ENTRY_HEADER_BYTES <= this.capacity) {
      encodeEntryHeader(this.bytes, this.#headPlace, type, seq, from, end - start);
      this.#advance(ENTRY_HEADER_BYTES);
    } else {
      encodeEntryHeader(this.#header, 0, type, seq, from, end - start);
      this.#put(this.#header, 0, ENTRY_HEADER_BYTES);
    }
    this.#put(source, start, end);
    this.#nextSeq = seq + 1;
    return seq;
  }

  /** Empties the log and numbers the next entry `seq`. */
  beginAt(seq: number): void {
    this.#tail = this.#head;
    this.#oldestSeq = this.#nextSeq = seq;
  }

  /** Appends entries that are laid out already; their numbers must be those that come next. */
  appendFrames(frames: Uint8Array): void {
    for (let at = 0; at < frames.length; ) {
      const end = at + LENGTH_BYTES + readU32(frames, at);
      const type = frames[at + LENGTH_BYTES] as number;
      const from = readU32(frames, at + LENGTH_BYTES + 1 + 8);
      this.append(type, from, frames, at + ENTRY_HEADER_BYTES, end);
      at = end;
    }
  }

  /** The connection numbers of entries from `seq` on. */
  sendersFrom(seq: number): Set<number> {
    const numbers = new Set<number>();
    for (let i = seq; i < this.#nextSeq; i++) {
      const at = this.positionOf(i) + LENGTH_BYTES + 1 + 8;
      numbers.add(readU32(this.copy(at, at + 4), 0));
    }
    return numbers;
  }

  /** Forgets the entries from `seq` on, which must be held. */
  truncate(seq: number): void {
    this.#head = this.positionOf(seq);
    this.#headPlace = this.place(this.#head);
    this.#nextSeq = seq;
  }

  /** Where entry `seq` begins; the head for `nextSeq`. `seq` must be held or be `nextSeq`. */
  positionOf(seq: number): number {
    return seq === this.#nextSeq ? this.#head : (this.#starts[seq & this.#slotMask] as number);
  }

  /** Sequence number of the entry that holds the byte at `position` (tail ≤ position < head). */
  seqAt(position: number): number {
    let low = this.#oldestSeq;
    let high = this.#nextSeq - 1;
    while (low < high) {
      const middle = Math.ceil((low + high) / 2);
      if (this.positionOf(middle) <= position) low = middle;
      else high = middle - 1;
    }
    return low;
  }

  /** Copies the bytes from position `from` to position `to`. */
  copy(from: number, to: number): Uint8Array {
    const out = new Uint8Array(to - from);
    const place = this.place(from);
    const first = Math.min(out.length, this.capacity - place);
    out.set(this.bytes.subarray(place, place + first));
    out.set(this.bytes.subarray(0, out.length - first), first);
    return out;
  }

  #put(source: Uint8Array, start: number, end: number): void {
    const length = end - start;
    const place = this.#headPlace;
    const first = Math.min(length, this.capacity - place);
    copyBytes.call(source, this.bytes, place, start, start + first);
    if (first < length) copyBytes.call(source, this.bytes, 0, start + first, end);
    this.#advance(length);
  }

  #advance(bytes: number): void {
    this.#head += bytes;
    this.#headPlace = (this.#headPlace + bytes) & this.#mask;
  }
}
