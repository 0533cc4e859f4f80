/**
 * The newest entries of a room: a bounded ring, laid out once as the frames that clients read.
 *
 * Positions are absolute byte counts since the ring began; a position modulo the capacity is its place
 * in the buffer. An entry may lie across the buffer's end, since clients read a byte stream: such a
 * slice takes two writes instead of one. The buffer grows as it is used, up to its greatest size and as
 * far as the relay's memory goes; then the oldest entries make room. The index has a slot for the
 * smallest entries that there are, so that it can't be full before the buffer is.
 */
import { ENTRY_HEADER_BYTES, encodeEntryHeader } from "../../protocol/entry.ts";
import type { Budget } from "./budget.ts";

const LEAST_BYTES = 4096;
/** One slot of the index for so many bytes: fewer than the smallest entry has. */
const BYTES_PER_SLOT = 16;
/** What a byte of the ring costs, with its part of the index. */
const COST = 1 + Uint32Array.BYTES_PER_ELEMENT / BYTES_PER_SLOT;

/** Node's Buffer.copy: unlike set(), it needs no view, which would be garbage for every message. */
const copyBytes = Buffer.prototype.copy as (
  this: Uint8Array,
  target: Uint8Array,
  at: number,
  start: number,
  end: number,
) => number;

const powerOfTwo = (least: number) => 2 ** Math.ceil(Math.log2(Math.max(LEAST_BYTES, least)));

export class Ring {
  readonly #budget: Budget;
  readonly #most: number;
  readonly #header = new Uint8Array(ENTRY_HEADER_BYTES);
  #bytes = new Uint8Array(0);
  #mask = -1;
  /** The place of the entry with sequence number s, at s modulo the number of slots. */
  #places = new Uint32Array(0);
  #slotMask = -1;
  #oldest = 1;
  #next = 1;
  #tail = 0;
  #head = 0;
  /** The head's place in the buffer. */
  #headPlace = 0;

  /**
   * @param most how large it may grow, in bytes; rounded up to a power of two, at least 4,096. A single
   *   larger entry is held all the same.
   */
  constructor(most: number, budget: Budget) {
    this.#most = powerOfTwo(most);
    this.#budget = budget;
  }

  /** The entries' bytes, until the ring is changed. Readers take slices of it and change nothing. */
  get bytes(): Uint8Array {
    return this.#bytes;
  }

  /** Bytes of the buffer now. */
  get capacity(): number {
    return this.#bytes.length;
  }

  /** Bytes that it may grow to. */
  get most(): number {
    return this.#most;
  }

  /** Sequence number of the oldest entry held; equals `next` when none is. */
  get oldest(): number {
    return this.#oldest;
  }

  /** Sequence number that the next entry will get; the first ever is 1. */
  get next(): number {
    return this.#next;
  }

  /** Position after the newest byte. */
  get head(): number {
    return this.#head;
  }

  /** The place of a position in `bytes`. */
  place(position: number): number {
    return position % this.#bytes.length;
  }

  /** Appends an entry whose body is `source` from `start` to `end`. @returns its sequence number */
  append(type: number, from: number, source: Uint8Array, start: number, end: number): number {
    this.#makeRoom(ENTRY_HEADER_BYTES + end - start);
    const seq = this.#begin();
    if (this.#headPlace + ENTRY_HEADER_BYTES <= this.#bytes.length) {
      encodeEntryHeader(this.#bytes, this.#headPlace, type, seq, from, end - start);
      this.#advance(ENTRY_HEADER_BYTES);
    } else {
      encodeEntryHeader(this.#header, 0, type, seq, from, end - start);
      this.#put(this.#header, 0, ENTRY_HEADER_BYTES);
    }
    this.#put(source, start, end);
    return seq;
  }

  /** Appends an entry that is laid out already, `frames` from `start` to `end`, numbered `next`. */
  appendFrame(frames: Uint8Array, start: number, end: number): void {
    this.#makeRoom(end - start);
    this.#begin();
    this.#put(frames, start, end);
  }

  #begin(): number {
    const seq = this.#next;
    this.#places[seq & this.#slotMask] = this.#headPlace;
    this.#next = seq + 1;
    return seq;
  }

  /** Grows where it may, and else forgets the oldest entries, until so many bytes fit. */
  #makeRoom(bytes: number): void {
    while (this.#head + bytes - this.#tail > this.#bytes.length) {
      // The newest entry is held in any case, whatever others have taken.
      if (bytes > this.#bytes.length) this.#grow(bytes, true);
      else if (this.#bytes.length >= this.#most || !this.#grow(this.#bytes.length + 1, false)) {
        this.#oldest += 1;
        this.#tail = this.positionOf(this.#oldest);
      }
    }
  }

  /** To the next power of two that is `least` or more. @returns false where that is too much */
  #grow(least: number, forced: boolean): boolean {
    const capacity = powerOfTwo(least);
    const old = this.#bytes.length;
    const cost = (capacity - old) * COST;
    if (!forced && (capacity > this.#most || !this.#budget.take(cost))) return false;
    if (forced) this.#budget.force(cost);
    const bytes = new Uint8Array(capacity);
    const places = new Uint32Array(capacity / BYTES_PER_SLOT);
    for (let seq = this.#oldest; seq < this.#next; seq++) {
      places[seq & (places.length - 1)] = this.positionOf(seq) % capacity;
    }
    for (let at = this.#tail; at < this.#head; ) {
      const length = Math.min(this.#head - at, old - (at % old), capacity - (at % capacity));
      copyBytes.call(this.#bytes, bytes, at % capacity, at % old, (at % old) + length);
      at += length;
    }
    this.#bytes = bytes;
    this.#mask = capacity - 1;
    this.#places = places;
    this.#slotMask = places.length - 1;
    this.#headPlace = this.#head % capacity;
    return true;
  }

  /** Empties the ring and numbers the next entry `seq`. */
  beginAt(seq: number): void {
    this.#tail = this.#head;
    this.#oldest = this.#next = seq;
  }

  /** Gives its memory back; nothing may be asked of it any more. */
  close(): void {
    this.beginAt(this.#next);
    this.#budget.give(this.#bytes.length * COST);
    this.#bytes = new Uint8Array(0);
  }

  /** Where entry `seq` begins; the head for `next`. `seq` must be held or be `next`. */
  positionOf(seq: number): number {
    if (seq === this.#next) return this.#head;
    const back = (this.#headPlace - (this.#places[seq & this.#slotMask] as number)) & this.#mask;
    return this.#head - (back === 0 ? this.#bytes.length : back);
  }

  /** Sequence number of the entry that holds the byte at `position`, which must be held. */
  seqAt(position: number): number {
    let low = this.#oldest;
    let high = this.#next - 1;
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
    const first = Math.min(out.length, this.#bytes.length - place);
    out.set(this.#bytes.subarray(place, place + first));
    out.set(this.#bytes.subarray(0, out.length - first), first);
    return out;
  }

  #put(source: Uint8Array, start: number, end: number): void {
    const length = end - start;
    const place = this.#headPlace;
    const first = Math.min(length, this.#bytes.length - place);
    copyBytes.call(source, this.#bytes, place, start, start + first);
    if (first < length) copyBytes.call(source, this.#bytes, 0, start + first, end);
    this.#advance(length);
  }

  #advance(bytes: number): void {
    this.#head += bytes;
    this.#headPlace = (this.#headPlace + bytes) & this.#mask;
  }
}
