/**
 * A room that several relays serve: one subject of a JetStream stream, in which each message holds a run
 * of entries, numbered already, and the log's id.
 *
 * Whoever publishes says which message it has seen last, so that the stream takes a run only if its
 * numbers are the next ones. A run that is refused is numbered anew once what came first has been read;
 * one whose fate is unknown is offered again as it is. So there is one order for all, no gap, and nothing
 * twice, whatever fails.
 *
 * To look into a room writes nothing: an empty one has a provisional id, which becomes the log's with the
 * first message. If that is somebody else's, this log is lost. As the last message carries the id and the
 * number on, it is repeated, without entries, before it expires. Where the stream no longer has what the
 * log has seen, the log is lost and the room is opened anew: with a new id, if nothing is left.
 */
import { ProtocolError } from "../../../protocol/errors.ts";
import { LOG_ID_BYTES } from "../../../protocol/messages.ts";
import { type Alarm, fraction, type Runtime } from "../../../runtime.ts";
import { Batch, CONGESTED_BYTES } from "../batch.ts";
import type { Budget } from "../budget.ts";
import { commit } from "../commit.ts";
import type { Log, LogEvents } from "../log.ts";
import type { Ring } from "../ring.ts";
import type { Run } from "../run.ts";
import { Follower } from "./follower.ts";
import { decodeHead, encodeHead, type Head, runOf } from "./head.ts";
import { History, VanishedError } from "./history.ts";
import { ConflictError, type Message, type Stream } from "./stream.ts";

/** Bytes of a message, one entry at least; bounds what a reader needs at once, and a ring too. */
const MESSAGE_BYTES = 32 * 1024;
/** For how long the cluster may be silent before senders are told to come back, in milliseconds. */
const STALL_MS = 10_000;
/** An offer whose fate is unknown is made again after so many milliseconds. */
const RETRY_MS = 250;
/** How often the leader is asked what the last message is, in milliseconds: if something is in doubt, ... */
const DOUBT_MS = 1000;
/** ... if something is under way, ... */
const BUSY_MS = 5000;
/** ... and otherwise. */
const IDLE_MS = 30_000;
/** How long closing may take, in milliseconds. */
const CLOSE_MS = 3000;

interface Fence {
  readonly token: string;
  /** The old connection, where it was this relay's. */
  readonly from: number | undefined;
  readonly resolve: () => void;
  readonly reject: (error: unknown) => void;
}

/** A publication under way: the first entries that wait, or none in a fence's word or a mark. */
interface Offer {
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

/** What was found when the log was opened. */
interface State {
  readonly id: Uint8Array;
  readonly next: number;
  /** The first message that is of this log, and the number of its first entry. */
  readonly begin: number;
  readonly oldest: number;
  readonly seen: number;
  /** When the last message was taken, in milliseconds on the relay's clock. */
  readonly seenAt: number;
}

const NO_BYTES = new Uint8Array(0);
const hex = (id: Uint8Array) => Buffer.from(id).toString("hex");

export class JetStreamLog implements Log {
  readonly id: Uint8Array;
  readonly ring: Ring;
  readonly #stream: Stream;
  readonly #key: string;
  readonly #runtime: Runtime;
  readonly #events: LogEvents;
  readonly #log: string;
  readonly #batch: Batch;
  readonly #follower: Follower;
  readonly #history: History;
  readonly #fences: Fence[] = [];
  /** How old the last message may get, in milliseconds; 0 for any age. */
  readonly #markAfter: number;
  #state: "opening" | "open" | "closing" | "closed" = "opening";
  /** Why it was lost while it was being opened. */
  #failure: unknown;
  /** The stream's number of the last message of this room that was read, and when it was. */
  #seen: number;
  #seenAt: number;
  /** Number of the next entry: that of the ring, which is not written any more while closing. */
  #next: number;
  #offer: Offer | undefined;
  #offers = 0;
  /** A message is being read: nothing is offered before that is done. */
  #reading = false;
  /** When the cluster last took or gave something, or began to be waited for. */
  #aliveAt: number;
  /** When the last message is to be repeated at the earliest, after that did not work. */
  #markAt = 0;
  #retry: Alarm | undefined;
  #watch: Alarm | undefined;
  #watchAt = 0;
  #checking = false;
  /** A message that the leader has and that was not told; and how many had been told then. */
  #behind: { readonly seq: number; readonly told: number } | undefined;
  #drained: (() => void) | undefined;
  #ending: Promise<void> | undefined;

  private constructor(
    stream: Stream,
    key: string,
    ring: Ring,
    budget: Budget,
    runtime: Runtime,
    events: LogEvents,
    state: State,
  ) {
    this.id = state.id;
    this.ring = ring;
    this.#stream = stream;
    this.#key = key;
    this.#runtime = runtime;
    this.#events = events;
    this.#log = hex(state.id);
    this.#batch = new Batch(budget);
    this.#seen = state.seen;
    this.#seenAt = state.seenAt;
    this.#next = state.next;
    this.#aliveAt = runtime.clock.now();
    // Relays that have the room open at the same time need not all repeat it.
    this.#markAfter = stream.keepMs * (0.4 + 0.1 * fraction(runtime));
    const seen = () => this.#seen;
    const { begin, oldest } = state;
    this.#history = new History({ stream, key, log: this.#log, ring, begin, oldest, seen });
    this.#follower = new Follower(stream, key, runtime, {
      seen,
      read: (message) => this.#read(message),
      lost: (error) => this.#lose(error),
    });
  }

  /**
   * Finds the room's log, or begins one of which nobody else knows before something is appended.
   * @param ring empty; it gets the newest entries, as far as one message has them
   * @throws Error: what the stream says, or that it holds what no relay has written
   */
  static async open(
    stream: Stream,
    key: string,
    ring: Ring,
    budget: Budget,
    runtime: Runtime,
    events: LogEvents,
  ): Promise<JetStreamLog> {
    const state = await find(stream, key, ring, runtime);
    const log = new JetStreamLog(stream, key, ring, budget, runtime, events, state);
    try {
      await log.#follower.begin();
      // It may have been followed, and lost, already.
      if (log.#state === "closed") throw log.#failure;
    } catch (error) {
      log.#shut();
      throw error;
    }
    log.#state = "open";
    log.#planWatch();
    return log;
  }

  get oldest(): number {
    return this.#history.oldest;
  }

  get congested(): boolean {
    return this.#batch.bytes > CONGESTED_BYTES;
  }

  /** After the log is closed, or lost, this does nothing. */
  append(type: number, from: number, source: Uint8Array, start: number, end: number): void {
    if (this.#state !== "open") return;
    this.#batch.add(type, from, source, start, end);
  }

  flush(): void {
    this.#publish();
  }

  fence(token: string, from: number | undefined): Promise<void> {
    if (this.#state !== "open") return Promise.reject(this.#closedError());
    if (this.#provisional) return this.#fenceEmpty(token, from);
    return new Promise((resolve, reject) => {
      this.#fences.push({ token, from, resolve, reject });
      this.#publish();
    });
  }

  /** Nothing was ever published under the log's id. */
  get #provisional(): boolean {
    return this.#seen === 0 && this.#offers === 0;
  }

  /** Nothing of the client's can be under way; but another relay may have begun the room, unnoticed. */
  async #fenceEmpty(token: string, from: number | undefined): Promise<void> {
    const last = await this.#stream.last(this.#key);
    if (this.#state === "open" && this.#provisional) {
      if (last === undefined) {
        if (from !== undefined) this.#batch.forget(from);
        return;
      }
      this.#lose(this.#another());
    }
    await this.fence(token, from);
  }

  async page(seq: number): Promise<Run | undefined> {
    try {
      return await this.#history.page(seq);
    } catch (error) {
      if (error instanceof VanishedError) void this.#check();
      throw error;
    }
  }

  /** The stream deletes by itself; this looks what it still has. */
  async expire(): Promise<void> {
    try {
      await this.#history.look();
    } catch (error) {
      if (error instanceof VanishedError) void this.#check();
      throw error;
    }
  }

  /** Offers the stream what waits, one message at a time. */
  #publish(): void {
    if (this.#offer !== undefined || this.#reading) return;
    if (this.#state !== "open" && this.#state !== "closing") return;
    const offer = this.#nextOffer();
    if (offer === undefined) return;
    this.#offer = offer;
    this.#aliveAt = this.#runtime.clock.now();
    this.#watchBy(this.#aliveAt + BUSY_MS);
    void this.#send(offer);
  }

  #nextOffer(): Offer | undefined {
    const [fence] = this.#fences;
    // Before what waits, which may be the old connection's: that is dropped when the word is said.
    if (fence !== undefined) return this.#makeOffer(0, undefined, fence);
    if (this.#batch.count > 0) {
      // A copy: what is under way stays as it is, whatever becomes of the batch.
      const run = this.#batch.run(this.#next, Math.min(MESSAGE_BYTES, this.ring.most / 4));
      const copied = { ...run, bytes: run.bytes.slice() };
      return this.#makeOffer(run.next - run.first, copied, undefined);
    }
    return this.#markDue() <= this.#runtime.clock.now()
      ? this.#makeOffer(0, undefined, undefined)
      : undefined;
  }

  #makeOffer(count: number, entries: Run | undefined, fence: Fence | undefined): Offer {
    this.#offers += 1;
    const id = `${this.#ownOffers}${this.#offers}`;
    const run = entries ?? { first: this.#next, next: this.#next, bytes: NO_BYTES };
    const head = { offer: id, log: this.#log, next: run.next, replaces: fence?.token };
    const headers = encodeHead(head);
    return { id, after: this.#seen, count, run, headers, fence, contested: false };
  }

  /** How the ids of this relay's offers begin. */
  get #ownOffers(): string {
    return `${this.#stream.relayId} `;
  }

  /** When the last message is to be repeated, so that it doesn't expire. */
  #markDue(): number {
    // There is none, or it is kept for ever; and what ends need not be kept up.
    if (this.#seen === 0 || this.#markAfter === 0 || this.#state === "closing") return Infinity;
    return Math.max(this.#seenAt + this.#markAfter, this.#markAt);
  }

  async #send(offer: Offer): Promise<void> {
    let seq: number;
    try {
      seq = await this.#stream.publish(this.#key, offer.headers, offer.run.bytes, offer.after);
    } catch (error) {
      if (this.#offer !== offer) return;
      if (!(error instanceof ConflictError)) {
        this.#offerAgain(offer, error);
        return;
      }
      // Something came first: it will be read, and then what waits is numbered anew. It may also be
      // this very offer, made before; then it is read with its id. If nothing is read, the leader is asked.
      offer.contested = true;
      this.#watchBy(this.#runtime.clock.now() + DOUBT_MS);
      return;
    }
    if (this.#offer !== offer) return;
    if (seq <= offer.after) {
      this.#lose(new Error(`message ${seq} follows message ${offer.after}: the stream is another`));
      return;
    }
    this.#apply(seq, offer.run, offer.id, offer.fence?.token);
  }

  /** Nobody knows whether the stream has it: the same offer can be made without harm. */
  #offerAgain(offer: Offer, error: unknown): void {
    const { clock } = this.#runtime;
    if (clock.now() - this.#aliveAt >= STALL_MS) {
      this.#giveUp(error);
      return;
    }
    this.#watchBy(clock.now() + DOUBT_MS);
    this.#retry = clock.after(RETRY_MS, () => {
      if (this.#offer === offer) void this.#send(offer);
    });
  }

  /** What is under way may come all the same: then it is read, and counts. */
  #giveUp(error: unknown): void {
    const { clock } = this.#runtime;
    const senders = this.#batch.senders();
    this.#batch.clear();
    this.#rejectFences(error);
    this.#retry?.cancel();
    this.#offer = undefined;
    this.#aliveAt = clock.now();
    this.#markAt = clock.now() + STALL_MS;
    if (this.#state === "open" && senders.size > 0) this.#events.refused(senders, error);
    this.#settle();
  }

  #read(message: Message): void {
    if (this.#state === "closed" || message.seq <= this.#seen) return;
    let head: Head;
    let run: Run;
    try {
      head = decodeHead(message);
      run = runOf(message, head);
      if (head.log !== this.#log) throw this.#another();
      if (run.first !== this.#next) {
        throw new Error(`entry ${run.first} of the room follows entry ${this.#next - 1}`);
      }
    } catch (error) {
      this.#lose(error);
      return;
    }
    this.#apply(message.seq, run, head.offer, head.replaces);
  }

  /** Why a message of another log is there. To begin second is nobody's fault, and harms nobody. */
  #another(): Error {
    const begun = "the room has just begun at another relay; come back";
    return this.#seen === 0
      ? new ProtocolError("storage", begun)
      : new Error("the room has another log");
  }

  /** A message is the room's next. */
  #apply(seq: number, run: Run, id: string, token: string | undefined): void {
    const { clock } = this.#runtime;
    this.#seen = seq;
    this.#next = run.next;
    this.#seenAt = this.#aliveAt = clock.now();
    this.#reading = true;
    this.#retry?.cancel();
    const offer = this.#offer?.id === id ? this.#offer : undefined;
    this.#offer = undefined;
    if (offer !== undefined) this.#batch.drop(offer.count);
    if (this.#batch.count === 0) this.#batch.clear();
    try {
      this.#show(run);
      // A word of this relay's own that was given up is nobody's any more: who said it may have come
      // back without one since.
      const own = id.startsWith(this.#ownOffers);
      if (token !== undefined && (offer !== undefined || !own)) this.#replaced(token);
    } finally {
      this.#reading = false;
    }
    if (offer?.fence !== undefined) this.#said(offer.fence);
    this.#publish();
    if (this.#state === "open") this.#watchBy(this.#markDue());
    this.#settle();
  }

  /** Puts entries into the ring; when the log is being closed that is its owner's again. */
  #show(run: Run): void {
    if (run.next === run.first || this.#state === "closing") return;
    commit(this.ring, run.bytes, () => {
      if (this.#state === "open") this.#events.committed();
    });
  }

  /** What the client's older connection here has sent and nobody has been shown is dropped. */
  #replaced(token: string): void {
    if (this.#state !== "open") return;
    const from = this.#events.replaced(token);
    if (from !== undefined) this.#batch.forget(from);
  }

  #said(fence: Fence): void {
    const at = this.#fences.indexOf(fence);
    if (at >= 0) this.#fences.splice(at, 1);
    if (fence.from !== undefined) this.#batch.forget(fence.from);
    fence.resolve();
  }

  #rejectFences(error: unknown): void {
    for (const { reject } of this.#fences.splice(0)) reject(error);
  }

  /** Has the watch look at `time` at the latest, in milliseconds on the relay's clock. */
  #watchBy(time: number): void {
    if (time === Infinity || (this.#watch !== undefined && this.#watchAt <= time)) return;
    this.#watch?.cancel();
    this.#watchAt = time;
    const { clock } = this.#runtime;
    this.#watch = clock.after(Math.max(0, time - clock.now()), () => {
      this.#watch = undefined;
      void this.#look();
    });
  }

  #planWatch(): void {
    if (this.#state !== "open" && this.#state !== "closing") return;
    const doubtful = this.#behind !== undefined || this.#offer?.contested === true;
    const wait = doubtful ? DOUBT_MS : this.#offer !== undefined ? BUSY_MS : IDLE_MS;
    this.#watchBy(this.#runtime.clock.now() + wait);
    // What is under way comes first, however long it takes.
    if (this.#offer === undefined) this.#watchBy(this.#markDue());
  }

  /** The watch: what should have happened by itself is seen to. */
  async #look(): Promise<void> {
    if (this.#offer !== undefined && this.#runtime.clock.now() - this.#aliveAt >= STALL_MS) {
      this.#giveUp(new Error(`the cluster has not answered for ${STALL_MS / 1000} s`));
    }
    this.#publish();
    await this.#check();
    this.#planWatch();
  }

  /** Asks the leader whether the room's last message is what it must be. */
  async #check(): Promise<void> {
    if (this.#checking || this.#state === "closed") return;
    this.#checking = true;
    const [seen, next, offer] = [this.#seen, this.#next, this.#offer];
    const contested = offer?.contested === true;
    try {
      const last = await this.#stream.last(this.#key);
      if (this.#is("closed")) return;
      if (!this.#follows(last, seen, next)) {
        throw new VanishedError("what the cluster had of the room is gone, or is another's");
      }
      const seq = last?.seq ?? 0;
      if (seq > this.#seen) this.#notTold(seq);
      else this.#behind = undefined;
      // What was said to have come first did not come in the end: the offer is as good as new.
      if (contested && offer === this.#offer && seq === offer.after) {
        offer.contested = false;
        void this.#send(offer);
      }
    } catch (error) {
      // If the leader can't be asked, nothing is known.
      if (error instanceof VanishedError) this.#lose(error);
    } finally {
      this.#checking = false;
    }
  }

  /** Whether `last` can be the room's last message after message `seen`, with entries before `next`. */
  #follows(last: Message | undefined, seen: number, next: number): boolean {
    if (last === undefined) return seen === 0;
    if (last.seq !== seen) return last.seq > seen;
    try {
      const head = decodeHead(last);
      return head.log === this.#log && head.next === next;
    } catch {
      return false;
    }
  }

  /** The leader has message `seq`. If nothing at all is told meanwhile, the following is of no use. */
  #notTold(seq: number): void {
    const { told } = this.#follower;
    const silent = this.#behind !== undefined && this.#behind.seq > this.#seen;
    if (silent && this.#behind?.told === told) {
      this.#behind = undefined;
      this.#follower.again(new Error(`message ${seq} of the stream was not told`));
    } else {
      this.#behind = { seq, told };
    }
  }

  /** The state may change whenever something is awaited. */
  #is(state: "closed"): boolean {
    return this.#state === state;
  }

  #lose(error: unknown): void {
    if (this.#state === "closed") return;
    const open = this.#state === "open";
    this.#failure = error;
    this.#shut();
    if (open) this.#events.lost(error);
  }

  close(): Promise<void> {
    this.#ending ??= this.#end();
    return this.#ending;
  }

  async #end(): Promise<void> {
    if (this.#state === "closed") return;
    this.#state = "closing";
    this.#rejectFences(new Error("the room's log is closed"));
    // What a word is offered for is over; the mark too.
    if (this.#offer?.count === 0) this.#offer = undefined;
    this.#publish();
    if (this.#offer !== undefined) {
      await new Promise<void>((resolve) => {
        const late = this.#runtime.clock.after(CLOSE_MS, resolve);
        this.#drained = () => {
          late.cancel();
          resolve();
        };
      });
    }
    this.#shut();
  }

  /** Nothing is under way any more: then it can be closed. */
  #settle(): void {
    if (this.#offer === undefined && this.#batch.count === 0) this.#drained?.();
  }

  #shut(): void {
    if (this.#state === "closed") return;
    this.#state = "closed";
    this.#offer = undefined;
    this.#retry?.cancel();
    this.#watch?.cancel();
    this.#follower.stop();
    this.#batch.close();
    this.#rejectFences(this.#closedError());
    this.#drained?.();
  }

  #closedError(): unknown {
    return this.#failure ?? new Error("the room's log is closed");
  }
}

/** What the stream has of a room; its newest entries go into the ring. */
async function find(stream: Stream, key: string, ring: Ring, runtime: Runtime): Promise<State> {
  const { clock } = runtime;
  const last = await stream.last(key);
  if (last === undefined) {
    const id = runtime.random(new Uint8Array(LOG_ID_BYTES));
    return { id, next: 1, begin: 1, oldest: 1, seen: 0, seenAt: clock.now() };
  }
  const head = decodeHead(last);
  const run = runOf(last, head);
  const begin = await beginning(stream, key, last);
  const oldest = runOf(begin, decodeHead(begin)).first;
  if (oldest > run.first) throw new Error(`message ${last.seq} of the stream is out of order`);
  ring.beginAt(run.first);
  if (run.next > run.first) commit(ring, run.bytes, () => undefined);
  // The machines' clocks may differ: but never is it older than it can be, or younger than new.
  const age = Math.min(Math.max(0, clock.date() - last.time), stream.keepMs);
  const id = new Uint8Array(Buffer.from(head.log, "hex"));
  return {
    id,
    next: run.next,
    begin: begin.seq,
    oldest,
    seen: last.seq,
    seenAt: clock.now() - age,
  };
}

/** The first message that is of the same log as the last: of a stream that was deleted some may stay. */
async function beginning(stream: Stream, key: string, last: Message): Promise<Message> {
  const { log } = decodeHead(last);
  const at = async (seq: number) => {
    const message = await stream.from(key, seq);
    if (message !== undefined && message.seq <= last.seq) return message;
    throw new Error("what the cluster has of the room goes away; try again later");
  };
  let first = await at(1);
  if (decodeHead(first).log === log) return first;
  let [low, high] = [first.seq + 1, last.seq];
  first = last;
  while (low < high) {
    const middle = Math.floor((low + high) / 2);
    const message = await at(middle);
    if (decodeHead(message).log === log) [first, high] = [message, middle];
    else low = message.seq + 1;
  }
  return first;
}
