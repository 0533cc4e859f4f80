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
import { type Alarm, fraction, type Runtime } from "../../../runtime.ts";
import type { Budget } from "../budget.ts";
import { commit } from "../commit.ts";
import type { Log, LogEvents } from "../log.ts";
import type { Ring } from "../ring.ts";
import type { Run } from "../run.ts";
import { find, type State } from "./find.ts";
import { Follower } from "./follower.ts";
import { decodeHead, type Head, runOf } from "./head.ts";
import { History, VanishedError } from "./history.ts";
import { type Offer, Offers, type OffersHost } from "./offers.ts";
import type { Message, Stream } from "./stream.ts";

/** Bytes of a message, one entry at least; bounds what a reader needs at once, and a ring too. */
const MESSAGE_BYTES = 32 * 1024;
/** How often the leader is asked what the last message is, in milliseconds: if something is in doubt, ... */
const DOUBT_MS = 1000;
/** ... if something is under way, ... */
const BUSY_MS = 5000;
/** ... and otherwise. */
const IDLE_MS = 30_000;
/** How long closing may take, in milliseconds. */
const CLOSE_MS = 3000;

const hex = (id: Uint8Array) => Buffer.from(id).toString("hex");

export class JetStreamLog implements Log {
  readonly id: Uint8Array;
  readonly ring: Ring;
  readonly #stream: Stream;
  readonly #key: string;
  readonly #runtime: Runtime;
  readonly #events: LogEvents;
  readonly #log: string;
  readonly #offers: Offers;
  readonly #follower: Follower;
  readonly #history: History;
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
  /** A message is being read: nothing is offered before that is done. */
  #reading = false;
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
    this.#seen = state.seen;
    this.#seenAt = state.seenAt;
    this.#next = state.next;
    // Relays that have the room open at the same time need not all repeat it.
    this.#markAfter = stream.keepMs * (0.4 + 0.1 * fraction(runtime));
    const seen = () => this.#seen;
    const { begin, oldest } = state;
    this.#history = new History({ stream, key, log: this.#log, ring, begin, oldest, seen });
    this.#offers = new Offers(stream, key, this.#log, budget, runtime, this.#offersHost());
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
    return this.#offers.batch.congested;
  }

  /** After the log is closed, or lost, this does nothing. */
  append(type: number, from: number, source: Uint8Array, start: number, end: number): void {
    if (this.#state !== "open") return;
    this.#offers.batch.add(type, from, source, start, end);
  }

  flush(): void {
    this.#publish();
  }

  fence(token: string, from: number | undefined): Promise<void> {
    if (this.#state !== "open") return Promise.reject(this.#closedError());
    if (this.#provisional) return this.#fenceEmpty(token, from);
    const said = this.#offers.fence(token, from);
    this.#publish();
    return said;
  }

  /** Nothing was ever published under the log's id. */
  get #provisional(): boolean {
    return this.#seen === 0 && this.#offers.none;
  }

  /** Nothing of the client's can be under way; but another relay may have begun the room, unnoticed. */
  async #fenceEmpty(token: string, from: number | undefined): Promise<void> {
    const last = await this.#stream.last(this.#key);
    if (this.#state === "open" && this.#provisional) {
      if (last === undefined) {
        if (from !== undefined) this.#offers.batch.forget(from);
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

  #offersHost(): OffersHost {
    const log = this;
    return {
      get seen() {
        return log.#seen;
      },
      get next() {
        return log.#next;
      },
      get messageBytes() {
        return Math.min(MESSAGE_BYTES, log.ring.most / 4);
      },
      get repeatAt() {
        return log.#repeatAt;
      },
      offered: () => this.#watchBy(this.#runtime.clock.now() + BUSY_MS),
      doubtful: () => this.#watchBy(this.#runtime.clock.now() + DOUBT_MS),
      taken: (seq, offer) => this.#taken(seq, offer),
      givenUp: (senders, error) => {
        if (this.#state === "open" && senders.size > 0) this.#events.refused(senders, error);
        this.#settle();
      },
    };
  }

  /** Offers the stream what waits, one message at a time. */
  #publish(): void {
    if (this.#reading || (this.#state !== "open" && this.#state !== "closing")) return;
    this.#offers.publish();
  }

  /** When the last message is to be repeated, so that it doesn't expire. */
  get #repeatAt(): number {
    // There is none, or it is kept for ever; and what ends need not be kept up.
    if (this.#seen === 0 || this.#markAfter === 0 || this.#state === "closing") return Infinity;
    return this.#seenAt + this.#markAfter;
  }

  #taken(seq: number, { after, run, id, fence }: Offer): void {
    if (seq > after) this.#apply(seq, run, id, fence?.token);
    else this.#lose(new Error(`message ${seq} follows message ${after}: the stream is another`));
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
    this.#seen = seq;
    this.#next = run.next;
    this.#seenAt = this.#runtime.clock.now();
    this.#reading = true;
    const offer = this.#offers.came(id);
    try {
      this.#show(run);
      // A word of this relay's own that was given up is nobody's any more: who said it may have come
      // back without one since.
      const counts = offer !== undefined || !this.#offers.isOwn(id);
      if (token !== undefined && counts) this.#replaced(token);
    } finally {
      this.#reading = false;
    }
    if (offer?.fence !== undefined) this.#offers.said(offer.fence);
    this.#publish();
    if (this.#state === "open") this.#watchBy(this.#offers.markDue);
    this.#settle();
  }

  /** Puts entries into the ring; when the log is being closed that is its owner's again. */
  #show(run: Run): void {
    if (run.next === run.first || this.#state === "closing") return;
    commit(this.ring, [run], () => {
      if (this.#state === "open") this.#events.committed();
    });
  }

  /** What the client's older connection here has sent and nobody has been shown is dropped. */
  #replaced(token: string): void {
    if (this.#state !== "open") return;
    const from = this.#events.replaced(token);
    if (from !== undefined) this.#offers.batch.forget(from);
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
    const offer = this.#offers.current;
    const doubtful = this.#behind !== undefined || offer?.contested === true;
    const wait = doubtful ? DOUBT_MS : offer !== undefined ? BUSY_MS : IDLE_MS;
    this.#watchBy(this.#runtime.clock.now() + wait);
    // What is under way comes first, however long it takes.
    if (offer === undefined) this.#watchBy(this.#offers.markDue);
  }

  /** The watch: what should have happened by itself is seen to. */
  async #look(): Promise<void> {
    this.#offers.giveUpStalled();
    this.#publish();
    await this.#check();
    this.#planWatch();
  }

  /** Asks the leader whether the room's last message is what it must be. */
  async #check(): Promise<void> {
    if (this.#checking || this.#state === "closed") return;
    this.#checking = true;
    const [seen, next, offer] = [this.#seen, this.#next, this.#offers.current];
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
      if (contested && seq === offer.after) this.#offers.again(offer);
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
    // What a word is offered for is over; the mark too.
    this.#offers.end(this.#closedError());
    this.#publish();
    if (this.#offers.current !== undefined) {
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
    if (this.#offers.done) this.#drained?.();
  }

  #shut(): void {
    if (this.#state === "closed") return;
    this.#state = "closed";
    this.#watch?.cancel();
    this.#follower.stop();
    this.#offers.close(this.#closedError());
    this.#drained?.();
  }

  #closedError(): unknown {
    return this.#failure ?? new Error("the room's log is closed");
  }
}
