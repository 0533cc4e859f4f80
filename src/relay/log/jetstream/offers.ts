/**
 * What a relay has to say to a room: entries that wait, words of fences, the mark that keeps the log up.
 * It is offered to the stream one message at a time, again and again if nobody knows whether it was taken.
 */
import type { Alarm, Runtime } from "../../../runtime.ts";
import { Batch } from "../batch.ts";
import type { Budget } from "../budget.ts";
import type { Run } from "../run.ts";
import { encodeHead } from "./head.ts";
import { ConflictError, type Stream } from "./stream.ts";

/** For how long the cluster may be silent before senders are told to come back, in milliseconds. */
const STALL_MS = 10_000;
/** An offer whose fate is unknown is made again after so many milliseconds. */
const RETRY_MS = 250;

const NO_BYTES = new Uint8Array(0);

interface Fence {
  readonly token: string;
  /** The old connection, where it was this relay's. */
  readonly from: number | undefined;
  /** Entries that are to be published before. */
  waits: number;
  readonly resolve: () => void;
  readonly reject: (error: unknown) => void;
}

/** A publication under way: the first entries that wait, or none in a fence's word or a mark. */
export interface Offer {
  readonly id: string;
  /** The message that must be the last one. */
  readonly after: number;
  readonly count: number;
  readonly run: Run;
  readonly headers: Readonly<Record<string, string>>;
  readonly fence: Fence | undefined;
  /** The stream has said that another message came first. */
  contested: boolean;
}

/** The log whose offers they are. */
export interface OffersHost {
  /** Number of the last message that was read. */
  readonly seen: number;
  /** Number of the next entry. */
  readonly next: number;
  /** Bytes of a message at most, if it isn't one entry. */
  readonly messageBytes: number;
  /** When the last message is to be repeated, so that it doesn't expire; Infinity for never. */
  readonly repeatAt: number;
  /** Something is under way now. */
  offered(): void;
  /** It is doubtful whether what is under way goes on by itself. */
  doubtful(): void;
  /** An offer is the stream's message `seq`. */
  taken(seq: number, offer: Offer): void;
  /** What waited and was under way is dropped. What was under way may come all the same. */
  givenUp(senders: ReadonlySet<number>, error: unknown): void;
}

export class Offers {
  readonly batch: Batch;
  readonly #stream: Stream;
  readonly #key: string;
  /** The log's id, in hexadecimal. */
  readonly #log: string;
  readonly #runtime: Runtime;
  readonly #host: OffersHost;
  readonly #fences: Fence[] = [];
  #offer: Offer | undefined;
  /** How the ids of its offers begin: an earlier log's of this room and relay may still come. */
  readonly #name: string;
  #made = 0;
  /** When the cluster last took or gave something, or began to be waited for. */
  #aliveAt: number;
  /** When the last message is to be repeated at the earliest, after that did not work. */
  #markAt = 0;
  #retry: Alarm | undefined;

  constructor(
    stream: Stream,
    key: string,
    log: string,
    budget: Budget,
    runtime: Runtime,
    host: OffersHost,
  ) {
    this.batch = new Batch(budget);
    this.#stream = stream;
    this.#key = key;
    this.#log = log;
    this.#runtime = runtime;
    this.#host = host;
    const nonce = Buffer.from(runtime.random(new Uint8Array(8))).toString("hex");
    this.#name = `${stream.relayId} ${nonce}`;
    this.#aliveAt = runtime.clock.now();
  }

  /** What is under way. */
  get current(): Offer | undefined {
    return this.#offer;
  }

  /** Nothing was ever offered. */
  get none(): boolean {
    return this.#made === 0;
  }

  /** Nothing is under way, and no entry waits. */
  get done(): boolean {
    return this.#offer === undefined && this.batch.count === 0;
  }

  /** When a mark is to be offered, if nothing is under way. */
  get markDue(): number {
    return Math.max(this.#host.repeatAt, this.#markAt);
  }

  /** Whether an offer with this id is this relay's. */
  isOwn(id: string): boolean {
    return id.startsWith(`${this.#stream.relayId} `);
  }

  /** Resolves when a fence's word is said: it is the next thing to be offered. */
  fence(token: string, from: number | undefined): Promise<void> {
    return new Promise((resolve, reject) => {
      // An older connection that has ended may have left entries here: they go first.
      const waits = from === undefined ? this.batch.count : 0;
      this.#fences.push({ token, from, waits, resolve, reject });
    });
  }

  /** Offers what is next, unless something is under way. */
  publish(): void {
    if (this.#offer !== undefined) return;
    const offer = this.#next();
    if (offer === undefined) return;
    this.#offer = offer;
    this.#aliveAt = this.#runtime.clock.now();
    this.#host.offered();
    void this.#send(offer);
  }

  #next(): Offer | undefined {
    const [fence] = this.#fences;
    // Before what waits, which may be the old connection's: that is dropped when the word is said.
    const isDue = fence !== undefined && (fence.waits <= 0 || this.batch.count === 0);
    if (isDue) return this.#make(0, undefined, fence);
    if (this.batch.count > 0) {
      // A copy: what is under way stays as it is, whatever becomes of the batch.
      const run = this.batch.run(this.#host.next, this.#host.messageBytes);
      const copied = { ...run, bytes: run.bytes.slice() };
      return this.#make(run.next - run.first, copied, undefined);
    }
    return this.markDue <= this.#runtime.clock.now()
      ? this.#make(0, undefined, undefined)
      : undefined;
  }

  #make(count: number, entries: Run | undefined, fence: Fence | undefined): Offer {
    this.#made += 1;
    const { seen, next } = this.#host;
    const id = `${this.#name} ${this.#made}`;
    const run = entries ?? { first: next, next, bytes: NO_BYTES };
    const head = { offer: id, log: this.#log, next: run.next, replaces: fence?.token };
    return { id, after: seen, count, run, headers: encodeHead(head), fence, contested: false };
  }

  async #send(offer: Offer): Promise<void> {
    let seq: number;
    try {
      seq = await this.#stream.publish(this.#key, offer.headers, offer.run.bytes, offer.after);
    } catch (error) {
      if (this.#offer !== offer) return;
      if (!(error instanceof ConflictError)) {
        this.#sendLater(offer, error);
        return;
      }
      // Something came first: it will be read, and then what waits is numbered anew. It may also be
      // this very offer, made before; then it is read with its id. If nothing is read, the leader is asked.
      offer.contested = true;
      this.#host.doubtful();
      return;
    }
    if (this.#offer === offer) this.#host.taken(seq, offer);
  }

  /** Nobody knows whether the stream has it: the same offer can be made without harm. */
  #sendLater(offer: Offer, error: unknown): void {
    if (this.#isStalled()) {
      this.#giveUp(error);
      return;
    }
    this.#host.doubtful();
    this.#retry = this.#runtime.clock.after(RETRY_MS, () => {
      if (this.#offer === offer) void this.#send(offer);
    });
  }

  /** What was said to have come before an offer did not come in the end: it is as good as new. */
  again(offer: Offer): void {
    if (this.#offer !== offer) return;
    offer.contested = false;
    void this.#send(offer);
  }

  #isStalled(): boolean {
    return this.#runtime.clock.now() - this.#aliveAt >= STALL_MS;
  }

  /** Gives up what the cluster has not answered for too long. */
  giveUpStalled(): void {
    if (this.#offer === undefined || !this.#isStalled()) return;
    this.#giveUp(new Error(`the cluster has not answered for ${STALL_MS / 1000} s`));
  }

  #giveUp(error: unknown): void {
    const { clock } = this.#runtime;
    const senders = this.batch.senders();
    this.batch.clear();
    this.#rejectFences(error);
    this.#retry?.cancel();
    this.#offer = undefined;
    this.#aliveAt = clock.now();
    this.#markAt = clock.now() + STALL_MS;
    this.#host.givenUp(senders, error);
  }

  /**
   * A message has come, so that nothing can be under way any more: what is left is numbered anew.
   * @param id of the offer that it is
   * @returns what was under way, if it is that
   */
  came(id: string): Offer | undefined {
    this.#aliveAt = this.#runtime.clock.now();
    this.#retry?.cancel();
    const offer = this.#offer?.id === id ? this.#offer : undefined;
    this.#offer = undefined;
    if (offer !== undefined) {
      this.batch.drop(offer.count);
      for (const fence of this.#fences) fence.waits -= offer.count;
    }
    if (this.batch.count === 0) this.batch.clear();
    return offer;
  }

  /** A fence's word is said. */
  said(fence: Fence): void {
    const at = this.#fences.indexOf(fence);
    if (at >= 0) this.#fences.splice(at, 1);
    if (fence.from !== undefined) this.batch.forget(fence.from);
    fence.resolve();
  }

  #rejectFences(error: unknown): void {
    for (const { reject } of this.#fences.splice(0)) reject(error);
  }

  /** Only entries are offered from now on. */
  end(error: unknown): void {
    this.#rejectFences(error);
    if (this.#offer?.count === 0) this.#offer = undefined;
  }

  /** Nothing is offered any more. */
  close(error: unknown): void {
    this.#offer = undefined;
    this.#retry?.cancel();
    this.batch.close();
    this.#rejectFences(error);
  }
}
