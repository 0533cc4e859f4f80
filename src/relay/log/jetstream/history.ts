/**
 * A room's older entries, read from the stream. Only what the stream's leader says counts: a replica may
 * lag, and what it doesn't have is not gone. What can't be read is an error, never "nothing".
 */
import type { Ring } from "../ring.ts";
import { cut, joined, type Run } from "../run.ts";
import { Borders } from "./borders.ts";
import { decodeHead, type Head, runOf } from "./head.ts";
import type { Message, Stream } from "./stream.ts";

/** Bytes of a page, give or take a message. */
const PAGE_BYTES = 32 * 1024;

/** A message that the stream no longer holds although a later one was read: the log may be lost. */
export class VanishedError extends Error {
  override name = "VanishedError";
}

interface Found extends Head {
  readonly message: Message;
  readonly run: Run;
}

export interface HistoryOptions {
  readonly stream: Stream;
  readonly key: string;
  /** The log's id, in hexadecimal. */
  readonly log: string;
  readonly ring: Ring;
  /** Number in the stream of the log's first message: those before are of another. */
  readonly begin: number;
  /** Number of the stream's oldest entry. */
  readonly oldest: number;
  /** Number in the stream of the last message that the log has read. */
  readonly seen: () => number;
}

export class History {
  readonly #options: HistoryOptions;
  readonly #borders = new Borders();
  /** Number in the stream of the log's first message, as far as is known. */
  #begin: number;
  /** Number of the stream's oldest entry, as far as it is proven. */
  #oldest: number;

  constructor(options: HistoryOptions) {
    this.#options = options;
    this.#begin = options.begin;
    this.#oldest = options.oldest;
  }

  get oldest(): number {
    return Math.min(this.#oldest, this.#options.ring.oldest);
  }

  /**
   * Entries from `seq` on, or from the next that is kept, before what the ring holds.
   * @throws VanishedError, and what the stream throws
   */
  async page(seq: number): Promise<Run | undefined> {
    const end = this.#options.ring.oldest;
    if (seq >= end) return undefined;
    const parts: Run[] = [];
    let bytes = 0;
    const seen = this.#options.seen;
    for (let at = await this.#find(seq); at <= seen() && bytes < PAGE_BYTES; ) {
      const { message, run } = await this.#read(at);
      at = message.seq + 1;
      if (run.first >= end && run.next > run.first) break;
      if (run.next <= seq || run.next === run.first) continue;
      const before = parts.at(-1);
      // Somebody has deleted messages between: the next page begins after the gap.
      if (before !== undefined && before.next !== run.first) break;
      parts.push(cut(run, seq, end));
      bytes += run.bytes.length;
    }
    const page = joined(parts);
    // Proven for the beginning only: what is missing further on says nothing of what is before.
    if (seq <= this.#oldest) this.#oldest = Math.max(this.#oldest, page?.first ?? end);
    return page;
  }

  /** Looks what the stream still has. @throws VanishedError, and what the stream throws */
  async look(): Promise<void> {
    if (this.#options.seen() === 0) return;
    const { run } = await this.#read(this.#begin);
    this.#oldest = Math.max(this.#oldest, run.first);
  }

  /** Where to begin to look for entry `seq`: at its message, or before, with no entries between. */
  async #find(seq: number): Promise<number> {
    let { low, high } = this.#borders.around(seq, this.#begin, this.#options.seen());
    while (low < high) {
      const middle = Math.floor((low + high) / 2);
      const { message, run } = await this.#read(middle);
      if (run.first <= seq && seq < run.next) return message.seq;
      if (run.next > seq) high = middle;
      else low = message.seq + 1;
    }
    return low;
  }

  /** The first message from number `at` of the stream on, of those that the log has read. */
  async #read(at: number): Promise<Found> {
    const { stream, key, log, seen } = this.#options;
    const message = await stream.from(key, at);
    // The last message that was read is the last to go.
    if (message === undefined || message.seq > seen()) {
      throw new VanishedError(`messages ${at} to ${seen()} of the stream are gone`);
    }
    const head = decodeHead(message);
    if (head.log !== log) {
      // If it isn't lost, this one goes on after it.
      this.#begin = Math.max(this.#begin, message.seq + 1);
      throw new VanishedError(`message ${message.seq} of the stream is of another log`);
    }
    const run = runOf(message, head);
    this.#borders.add(run.first, message.seq);
    this.#borders.add(run.next, message.seq + 1);
    return { ...head, message, run };
  }
}
