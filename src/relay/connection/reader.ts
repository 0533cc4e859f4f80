/**
 * A client's place in its room's log: the number of the entry that it gets next. From there it is sent
 * slices of the ring, and pages of what is kept where the ring has overtaken it.
 */
import { encodeMissed } from "../../protocol/messages.ts";
import type { Log } from "../log/log.ts";
import type { Run } from "../log/run.ts";
import type { Counters } from "../metrics.ts";
import type { Outlet } from "./outlet.ts";

export interface ReaderEvents {
  /** What is kept can't be read: that is no reason to say that it is missing. */
  unreadable(error: unknown): void;
}

export class Reader {
  readonly #log: Log;
  readonly #outlet: Outlet;
  readonly #counters: Counters;
  readonly #events: ReaderEvents;
  /** Number of the next entry; the socket has all of those before, or they lie in the outlet. */
  #next: number;
  /** A page of what is kept is on its way. */
  #fetching = false;
  #closed = false;

  /** @param next number of the first entry that the client is to be sent; at most `log.ring.next` */
  constructor(log: Log, outlet: Outlet, next: number, counters: Counters, events: ReaderEvents) {
    this.#log = log;
    this.#outlet = outlet;
    this.#next = next;
    this.#counters = counters;
    this.#events = events;
  }

  /** The client has been sent all there is. */
  get atEnd(): boolean {
    return this.#next === this.#log.ring.next;
  }

  /** Gives the socket what it will take: what waits in the outlet, then the log. */
  pump(): void {
    if (this.#closed || !this.#outlet.flush()) return;
    const ring = this.#log.ring;
    if (this.#next < ring.oldest) {
      if (!this.#fetching) void this.#fetch();
      return;
    }
    if (this.#next === ring.next) return;
    let at = ring.positionOf(this.#next);
    while (at < ring.head) {
      const place = ring.place(at);
      const length = Math.min(ring.head - at, ring.capacity - place);
      const taken = this.#outlet.write(ring.bytes, place, length);
      if (taken < 0) return;
      at += taken;
      if (taken < length) {
        this.#stopAt(at);
        return;
      }
    }
    this.#next = ring.next;
  }

  /** The socket is full: what it has of an entry must become whole, whatever the ring does. */
  #stopAt(position: number): void {
    const ring = this.#log.ring;
    const seq = ring.seqAt(position);
    const begin = ring.positionOf(seq);
    if (begin === position) {
      this.#next = seq;
      return;
    }
    this.#outlet.keepRest(ring.copy(position, ring.positionOf(seq + 1)));
    this.#next = seq + 1;
  }

  /** The ring has overtaken this client, or it began before the ring's oldest entry. */
  async #fetch(): Promise<void> {
    this.#fetching = true;
    // The ring may have moved on when the answer is there. What it had now is not missing.
    const end = this.#log.ring.oldest;
    let page: Run | undefined;
    try {
      page = await this.#log.page(this.#next);
      if (page !== undefined && (page.first < this.#next || page.next <= page.first)) {
        throw new Error(`a page from ${page.first} to ${page.next} where ${this.#next} was wanted`);
      }
    } catch (error) {
      if (!this.#closed) this.#events.unreadable(error);
      return;
    }
    if (this.#closed) return;
    this.#fetching = false;
    this.skipTo(page?.first ?? end);
    if (page !== undefined) {
      this.#next = page.next;
      this.#outlet.say(page.bytes);
    }
    this.pump();
  }

  /** Says that the entries before `next` are not to be had any more. */
  skipTo(next: number): void {
    const count = next - this.#next;
    if (count <= 0) return;
    this.#counters.missed += count;
    this.#outlet.say(encodeMissed({ first: this.#next, count }));
    this.#next = next;
  }

  close(): void {
    this.#closed = true;
  }
}
