/**
 * One direction of a simulated connection: what was written and not read yet, in order.
 *
 * Bytes come in pieces, each after a while. They wait where the reader has paused, or the network is
 * apart, and a kernel that gets no answer for long gives the connection up.
 */
import type { Alarm } from "../../src/runtime.ts";
import type { Bounds, NetworkFaults } from "./faults.ts";
import type { Prng } from "./prng.ts";
import type { Scheduler } from "./time.ts";

/** What arrives: the connection itself, bytes, or the end of them. */
type Item =
  | { readonly kind: "open" | "end"; readonly arrivesAt: number }
  | { readonly kind: "bytes"; readonly arrivesAt: number; readonly bytes: Uint8Array };

/** What a pipe does at its ends. */
export interface PipeEnds {
  /** Whether bytes get from one end to the other now. */
  passable(): boolean;
  /** Whether the far end reads. */
  reading(): boolean;
  /** Something has arrived. @returns false where nobody has that connection any more */
  arrived(item: Uint8Array | "open" | "end"): boolean;
  /** There is room again for the near end to write. */
  room(): void;
  /** The far end has answered with a reset, or not at all for too long. */
  broken(why: string): void;
}

/** Bytes that arrive within so many milliseconds are read together, mostly. */
const TOGETHER_MS = 1;

export class Pipe {
  readonly #scheduler: Scheduler;
  readonly #prng: Prng;
  readonly #ends: PipeEnds;
  readonly #delay: Bounds;
  readonly #pieces: Bounds;
  readonly #gap: number;
  readonly #giveUp: Bounds;
  readonly #capacity: number;
  #queue: Item[] = [];
  /** Bytes in the queue. */
  #held = 0;
  #lastArrival = 0;
  #readAgainAt = 0;
  #short = false;
  #roomTold = false;
  #delivery: Alarm | undefined;
  #patience: Alarm | undefined;

  constructor(scheduler: Scheduler, prng: Prng, faults: NetworkFaults, ends: PipeEnds) {
    this.#scheduler = scheduler;
    this.#prng = prng;
    this.#ends = ends;
    const [least, most] = faults.delayMs;
    const delays = [prng.magnitude(least, most), prng.magnitude(least, most)];
    this.#delay = [Math.min(...delays), Math.max(...delays)];
    this.#pieces = faults.pieceBytes;
    this.#gap = prng.chance(faults.slow.chance) ? faults.slow.gapMs : 0;
    this.#giveUp = faults.giveUpMs;
    this.#capacity = Math.round(prng.magnitude(...faults.bufferBytes));
  }

  /** How long something takes to get across, in milliseconds: another draw each time. */
  delay(): number {
    const [least, most] = this.#delay;
    return least + this.#prng.fraction() * (most - least);
  }

  get empty(): boolean {
    return this.#queue.length === 0;
  }

  /** @returns how many bytes were taken */
  write(bytes: Uint8Array): number {
    const taken = Math.min(bytes.length, this.#capacity - this.#held);
    const [least, most] = this.#pieces;
    for (let at = 0; at < taken; ) {
      const size = Math.max(1, Math.round(this.#prng.magnitude(least, most)));
      const end = Math.min(taken, at + size);
      this.#enqueue({ kind: "bytes", arrivesAt: this.#arrival(), bytes: bytes.slice(at, end) });
      at = end;
    }
    this.#held += taken;
    this.#short ||= taken < bytes.length;
    // A drain may come though nothing was short.
    if (!this.#short && this.#prng.chance(0.05)) this.#tellRoom();
    this.advance();
    return taken;
  }

  send(kind: "open" | "end"): void {
    this.#enqueue({ kind, arrivesAt: this.#arrival() });
    this.advance();
  }

  /** Nothing overtakes anything. */
  #arrival(): number {
    this.#lastArrival = Math.max(this.#lastArrival, this.#scheduler.now() + this.delay());
    return this.#lastArrival;
  }

  #enqueue(item: Item): void {
    this.#queue.push(item);
  }

  /** Looks whether what comes next can be delivered: to be called whenever that may have changed. */
  advance(): void {
    const next = this.#queue[0];
    if (next === undefined || this.#ends.passable()) {
      this.#patience?.cancel();
      this.#patience = undefined;
    } else if (this.#patience === undefined) {
      const [least, most] = this.#giveUp;
      const wait = least + this.#prng.fraction() * (most - least);
      this.#patience = this.#scheduler.at(this.#scheduler.now() + wait, () =>
        this.#ends.broken("the connection timed out (ETIMEDOUT)"),
      );
    }
    if (next === undefined || !this.#ends.passable() || !this.#ends.reading()) {
      this.#delivery?.cancel();
      this.#delivery = undefined;
    } else if (this.#delivery === undefined) {
      const at = Math.max(next.arrivesAt, this.#readAgainAt);
      this.#delivery = this.#scheduler.at(at, () => this.#deliver());
    }
  }

  #deliver(): void {
    this.#delivery = undefined;
    const item = this.#next();
    if (item === undefined) return;
    if (this.#gap > 0) {
      this.#readAgainAt = this.#scheduler.now() + this.#prng.fraction() * this.#gap;
    }
    if (!this.#hand(item)) {
      const { delay } = this;
      this.drop();
      this.#scheduler.at(this.#scheduler.now() + delay.call(this), () => {
        if (this.#ends.passable()) this.#ends.broken("connection reset by peer (ECONNRESET)");
      });
      return;
    }
    this.advance();
  }

  /** What is read next: often all bytes that have arrived, as a kernel gives them. */
  #next(): Item | undefined {
    const item = this.#queue.shift();
    if (item?.kind !== "bytes" || this.#prng.chance(0.2)) return item;
    const together = this.#scheduler.now() + TOGETHER_MS;
    const parts = [item.bytes];
    for (let next = this.#queue[0]; next?.kind === "bytes" && next.arrivesAt <= together; ) {
      parts.push(next.bytes);
      this.#queue.shift();
      next = this.#queue[0];
    }
    return parts.length === 1 ? item : { ...item, bytes: Buffer.concat(parts) };
  }

  #hand(item: Item): boolean {
    if (item.kind !== "bytes") return this.#ends.arrived(item.kind);
    this.#held -= item.bytes.length;
    const taken = this.#ends.arrived(item.bytes);
    // It was the handler's during the call only: who has kept it reads this.
    item.bytes.fill(0xdb);
    // A kernel tells when there is a good part of its buffer free.
    if (this.#short && this.#held <= this.#capacity / 2) this.#tellRoom();
    return taken;
  }

  /** Tells the near end, in a while, that it may go on writing. */
  #tellRoom(): void {
    if (this.#roomTold) return;
    this.#roomTold = true;
    this.#scheduler.at(this.#scheduler.now() + this.delay(), () => {
      this.#roomTold = false;
      this.#short = false;
      this.#ends.room();
    });
  }

  /** What has arrived already and was not read, taken out. */
  arrivedUnread(): Uint8Array[] {
    const now = this.#scheduler.now();
    const unread: Uint8Array[] = [];
    for (const item of this.#queue) {
      if (item.kind !== "bytes" || item.arrivesAt > now) break;
      unread.push(item.bytes);
    }
    return unread;
  }

  /** Nothing of what is on its way arrives. */
  drop(): void {
    this.#queue = [];
    this.#held = 0;
    this.#delivery?.cancel();
    this.#delivery = undefined;
    this.#patience?.cancel();
    this.#patience = undefined;
  }
}
