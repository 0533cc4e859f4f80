/**
 * A room that several relays serve: one subject of a JetStream stream, in which each message holds a
 * run of entries, numbered already.
 *
 * Whoever publishes says which message it has seen last (Nats-Expected-Last-Subject-Sequence), so that
 * the stream takes a run only if its numbers are the next ones. A run that is refused is numbered anew
 * once what came first has been read; one whose fate is unknown is offered again as it is. So there is
 * one order for all, no gap, and nothing twice, whatever fails.
 */
import {
  type ConsumerMessages,
  DeliverPolicy,
  JetStreamApiCodes,
  JetStreamApiError,
  type JsMsg,
  type StoredMsg,
} from "@nats-io/jetstream";
import { headers, type MsgHdrs } from "@nats-io/transport-node";
import { ENTRY_HEADER_BYTES, encodeEntryHeader } from "../protocol/entry.ts";
import { LOG_ID_BYTES } from "../protocol/messages.ts";
import type { Cluster, Place } from "./cluster.ts";
import type { Ring } from "./ring.ts";
import { asRun, cut, joined, type Run } from "./run.ts";

/** Bytes of a message, one entry at least; bounds what a reader needs at once, and a ring too. */
const MESSAGE_BYTES = 32 * 1024;
const PAGE_BYTES = 32 * 1024;
/** Bytes of entries that wait to be published before clients are read more slowly. */
const CONGESTED_BYTES = 256 * 1024;
/** And before the room's senders are sent away: each of many has sent something meanwhile. */
const WAITING_BYTES = 16 << 20;
/** How long a publication may take until it is offered again, in milliseconds. */
const PUBLISH_MS = 2000;
/** For how long the cluster may be silent before senders are told to come back, in milliseconds. */
const STALL_MS = 10_000;
const RETRY_MS = 250;
/** Places in the stream that are remembered for readers of history. */
const MAX_PLACES = 256;

const HEADER = { id: "Chat-Id", log: "Chat-Log", next: "Chat-Next", replaces: "Chat-Replaces" };

export interface ClusterLogEvents {
  /** The ring has new entries, which may be sent. */
  arrived(): void;
  /** The cluster does not take the entries of these connections. */
  refused(numbers: Set<number>, error: unknown): void;
  /** The room can't be followed any more. */
  lost(error: unknown): void;
  /** The client with this token has connected again somewhere. */
  replaced(token: string): void;
}

interface Waiting {
  readonly type: number;
  readonly from: number;
  readonly body: Uint8Array;
}

/** A publication under way: so many of the waiting entries, or none for a word to the other relays. */
interface Offer {
  readonly id: string;
  /** The message that must be the last one. */
  readonly after: number;
  readonly count: number;
  readonly run: Run;
  readonly headers: MsgHdrs;
}

interface Word {
  readonly token: string;
  /** The old connection, where it was this relay's. */
  readonly number: number | undefined;
  readonly said: () => void;
}

export class ClusterLog {
  readonly logId: Uint8Array;
  readonly #cluster: Cluster;
  readonly #place: Place;
  readonly #ring: Ring;
  readonly #events: ClusterLogEvents;
  readonly #waiting: Waiting[] = [];
  readonly #words: Word[] = [];
  #waitingBytes = 0;
  /** The stream's number of the last message of this room that has been read. */
  #seen: number;
  #oldest: number;
  #offer: Offer | undefined;
  #offers = 0;
  /** When the cluster last took or gave something. */
  #aliveAt = performance.now();
  #retry: Timer | undefined;
  #messages: ConsumerMessages | undefined;
  #closed = false;
  /** The stream's numbers of messages, by the first entry in them. */
  readonly #places = new Map<number, number>();

  private constructor(
    cluster: Cluster,
    place: Place,
    ring: Ring,
    events: ClusterLogEvents,
    state: { logId: Uint8Array; seen: number; next: number; oldest: number },
  ) {
    this.#cluster = cluster;
    this.#place = place;
    this.#ring = ring;
    this.#events = events;
    this.logId = state.logId;
    this.#seen = state.seen;
    this.#oldest = state.oldest;
    ring.beginAt(state.next);
  }

  /** Finds or begins a room's log and follows it. @throws what the cluster says */
  static async open(
    cluster: Cluster,
    key: string,
    ring: Ring,
    events: ClusterLogEvents,
  ): Promise<ClusterLog> {
    const place = cluster.place(key);
    const last = (await newest(cluster, place)) ?? (await begin(cluster, place));
    const first = await messageAt(cluster, place, 1);
    const logId = new Uint8Array(Buffer.from(last.header.get(HEADER.log), "hex"));
    const next = nextOf(last.header);
    const oldest = first === undefined ? next : firstOf(first);
    if (logId.length !== LOG_ID_BYTES || !(oldest <= next)) {
      throw new Error(`message ${last.seq} of ${place.subject} is not a relay's`);
    }
    const log = new ClusterLog(cluster, place, ring, events, {
      logId,
      seen: last.seq,
      next,
      oldest,
    });
    await log.#follow();
    return log;
  }

  async #follow(): Promise<void> {
    const consumer = await this.#cluster.js.consumers.get(this.#place.stream, {
      filter_subjects: this.#place.subject,
      deliver_policy: DeliverPolicy.StartSequence,
      opt_start_seq: this.#seen + 1,
    });
    this.#messages = await consumer.consume({
      callback: (message) => this.#read(message),
      // What a broken link costs until it is noticed.
      idle_heartbeat: 1000,
      expires: 5000,
    });
  }

  /** Sequence number of the oldest entry that is kept. */
  get oldestSeq(): number {
    return this.#oldest;
  }

  /** More waits than goes out: who sends is to be read later. */
  get congested(): boolean {
    return this.#waitingBytes > CONGESTED_BYTES;
  }

  /** Takes an entry of a client's; it comes into the ring when the stream has it. */
  submit(type: number, from: number, body: Uint8Array): void {
    if (this.#waiting.length === 0) this.#aliveAt = performance.now();
    this.#waiting.push({ type, from, body });
    this.#waitingBytes += body.length;
    if (this.#waitingBytes > WAITING_BYTES) {
      this.#giveUp(new Error("the cluster takes less than clients send"));
    }
  }

  /**
   * Forgets the entries of a connection that are not published, and never will be. Only while nothing
   * is offered, so that it is known which those are.
   */
  forget(from: number): void {
    const rest = this.#waiting.filter((entry) => entry.from !== from);
    this.#waiting.length = 0;
    this.#waiting.push(...rest);
    this.#waitingBytes = rest.reduce((sum, entry) => sum + entry.body.length, 0);
  }

  /**
   * Tells all relays that a client has connected again. Once it is said nothing can come any more of
   * what the client sent before.
   * @param number the client's old connection, where it was this relay's
   */
  replace(token: string, number: number | undefined): Promise<void> {
    if (this.#closed) return Promise.resolve();
    return new Promise((said) => {
      this.#words.push({ token, number, said });
      this.publish();
    });
  }

  /** Offers the stream what waits, one message at a time. */
  publish(): void {
    if (this.#closed || this.#offer !== undefined || this.#retry !== undefined) return;
    const [word] = this.#words;
    if (word === undefined && this.#waiting.length === 0) return;
    this.#offer = word === undefined ? this.#runOffer() : this.#wordOffer(word);
    void this.#send(this.#offer);
  }

  #newOffer(count: number, run: Run, replaces?: string): Offer {
    this.#offers += 1;
    const id = `${this.#cluster.id} ${this.#offers}`;
    const hdrs = headersOf(id, this.logId, run.next);
    if (replaces !== undefined) hdrs.set(HEADER.replaces, replaces);
    return { id, after: this.#seen, count, run, headers: hdrs };
  }

  #wordOffer(word: Word): Offer {
    const seq = this.#ring.nextSeq;
    return this.#newOffer(0, { first: seq, next: seq, bytes: new Uint8Array(0) }, word.token);
  }

  #runOffer(): Offer {
    const most = Math.min(MESSAGE_BYTES, this.#ring.capacity / 4);
    let [count, bytes] = [0, 0];
    for (const entry of this.#waiting) {
      const size = ENTRY_HEADER_BYTES + entry.body.length;
      if (count > 0 && bytes + size > most) break;
      count += 1;
      bytes += size;
    }
    const frames = new Uint8Array(bytes);
    const first = this.#ring.nextSeq;
    let at = 0;
    for (const [i, { type, from, body }] of this.#waiting.slice(0, count).entries()) {
      encodeEntryHeader(frames, at, type, first + i, from, body.length);
      frames.set(body, at + ENTRY_HEADER_BYTES);
      at += ENTRY_HEADER_BYTES + body.length;
    }
    return this.#newOffer(count, { first, next: first + count, bytes: frames });
  }

  async #send(offer: Offer): Promise<void> {
    try {
      const ack = await this.#cluster.js.publish(this.#place.subject, offer.run.bytes, {
        headers: offer.headers,
        expect: { lastSubjectSequence: offer.after },
        timeout: PUBLISH_MS,
        retries: 1,
      });
      if (this.#offer === offer && this.#seen === offer.after)
        this.#apply(ack.seq, offer.run, offer.id);
    } catch (error) {
      if (this.#closed || this.#offer !== offer) return;
      if (isConflict(error)) {
        // Something came first: it will be read, and then what waits is numbered anew. It may also be
        // this very offer, made before; then it is read with its id.
        if (this.#seen !== offer.after) {
          this.#offer = undefined;
          this.publish();
        }
        return;
      }
      this.#offerAgain(offer, error);
    }
  }

  /** Nobody knows whether the stream has it: the same offer can be made without harm. */
  #offerAgain(offer: Offer, error: unknown): void {
    if (performance.now() - this.#aliveAt > STALL_MS) {
      this.#giveUp(error);
      return;
    }
    this.#retry = setTimeout(() => {
      this.#retry = undefined;
      if (this.#offer === offer && this.#seen === offer.after) {
        void this.#send(offer);
      } else {
        if (this.#offer === offer) this.#offer = undefined;
        this.publish();
      }
    }, RETRY_MS);
  }

  #giveUp(error: unknown): void {
    const numbers = new Set(this.#waiting.map((entry) => entry.from));
    this.#waiting.length = 0;
    this.#waitingBytes = 0;
    this.#offer = undefined;
    this.#aliveAt = performance.now();
    this.#events.refused(numbers, error);
  }

  #read(message: JsMsg): void {
    if (this.#closed || message.seq <= this.#seen) return;
    const hdrs = message.headers;
    const run = hdrs === undefined ? undefined : asRun(this.#ring.nextSeq, message.data);
    if (hdrs === undefined || run === undefined || run.next !== nextOf(hdrs)) {
      this.#events.lost(
        new Error(`message ${message.seq} of ${this.#place.subject} is no run of entries`),
      );
      return;
    }
    this.#apply(message.seq, run, hdrs.get(HEADER.id), hdrs.get(HEADER.replaces));
  }

  /** A message is the room's next; `token` says whose old connection is to be heard no more. */
  #apply(seq: number, run: Run, id: string, token = ""): void {
    this.#seen = seq;
    this.#aliveAt = performance.now();
    const offer = this.#offer;
    this.#offer = undefined;
    if (offer?.id === id) {
      if (offer.count === 0) this.#said();
      for (const { body } of this.#waiting.splice(0, offer.count))
        this.#waitingBytes -= body.length;
    }
    if (run.next > run.first) {
      this.#remember(run.first, seq);
      this.#ring.appendFrames(run.bytes);
      this.#events.arrived();
    }
    // Before anything else is offered: what waits may be that connection's.
    if (token !== "") this.#events.replaced(token);
    this.publish();
  }

  /** The oldest word to the other relays has been said. */
  #said(): void {
    const word = this.#words.shift();
    if (word?.number !== undefined) this.forget(word.number);
    word?.said();
  }

  #remember(first: number, seq: number): void {
    this.#places.set(first, seq);
    if (this.#places.size > MAX_PLACES) {
      for (const oldest of this.#places.keys()) {
        this.#places.delete(oldest);
        break;
      }
    }
  }

  /** Entries from `seq` on, or from the next that is kept, before what the ring holds. */
  async page(seq: number): Promise<Run | undefined> {
    const end = this.#ring.oldestSeq;
    const parts: Run[] = [];
    let bytes = 0;
    let at = await this.#find(seq);
    while (bytes < PAGE_BYTES) {
      const message = await messageAt(this.#cluster, this.#place, at);
      if (message === undefined || message.seq > this.#seen) break;
      at = message.seq + 1;
      const run = asRun(firstOf(message), message.data);
      const before = parts.at(-1);
      if (run === undefined || run.first >= end) break;
      if (run.next <= seq || run.next === run.first) continue;
      if (before !== undefined && before.next !== run.first) break;
      parts.push(cut(run, seq, end));
      bytes += run.bytes.length;
    }
    const page = joined(parts);
    if (page !== undefined) this.#remember(page.next, at);
    // What is missing before a page has expired.
    if (page?.first !== seq) this.#oldest = Math.max(this.#oldest, page?.first ?? end);
    return page;
  }

  /** Where in the stream to look for entry `seq`: at its message, or before. */
  async #find(seq: number): Promise<number> {
    const known = this.#places.get(seq);
    if (known !== undefined) return known;
    let [low, high] = [1, this.#seen];
    while (low < high) {
      const middle = Math.floor((low + high) / 2);
      const message = await messageAt(this.#cluster, this.#place, middle);
      if (message === undefined || nextOf(message.header) > seq) high = middle;
      else low = message.seq + 1;
    }
    return low;
  }

  close(): void {
    this.#closed = true;
    clearTimeout(this.#retry);
    this.#messages?.stop();
    for (const { said } of this.#words) said();
  }
}

function headersOf(id: string, logId: Uint8Array, next: number): MsgHdrs {
  const hdrs = headers();
  hdrs.set(HEADER.id, id);
  hdrs.set(HEADER.log, Buffer.from(logId).toString("hex"));
  hdrs.set(HEADER.next, String(next));
  return hdrs;
}

/** Sequence number after a message's last entry; NaN in a message that no relay has made. */
function nextOf(hdrs: MsgHdrs): number {
  const next = Number(hdrs.get(HEADER.next) || Number.NaN);
  return Number.isSafeInteger(next) && next >= 1 ? next : Number.NaN;
}

/** The number of a stored message's first entry; of the next one if there is none in it. */
function firstOf(message: StoredMsg): number {
  const bytes = message.data;
  return bytes.length < ENTRY_HEADER_BYTES ? nextOf(message.header) : firstSeq(bytes);
}

function firstSeq(frames: Uint8Array): number {
  return Number(Buffer.from(frames.buffer, frames.byteOffset, frames.length).readBigUInt64BE(5));
}

function isConflict(error: unknown): boolean {
  return (
    error instanceof JetStreamApiError && error.code === JetStreamApiCodes.StreamWrongLastSequence
  );
}

async function newest(cluster: Cluster, place: Place): Promise<StoredMsg | undefined> {
  const query = { last_by_subj: place.subject };
  const message = await cluster.jsm.streams.getMessage(place.stream, query);
  return message ?? undefined;
}

/** The room's first message from number `seq` of the stream on. */
async function messageAt(
  cluster: Cluster,
  place: Place,
  seq: number,
): Promise<StoredMsg | undefined> {
  const query = { seq, next_by_subj: place.subject };
  const message = await cluster.jsm.direct.getMessage(place.stream, query);
  return message ?? undefined;
}

/** Gives a room without messages its log id; another relay may have been quicker. */
async function begin(cluster: Cluster, place: Place): Promise<StoredMsg> {
  const logId = crypto.getRandomValues(new Uint8Array(LOG_ID_BYTES));
  try {
    await cluster.js.publish(place.subject, new Uint8Array(0), {
      headers: headersOf(`${cluster.id} begin`, logId, 1),
      expect: { lastSubjectSequence: 0 },
      timeout: PUBLISH_MS,
    });
  } catch (error) {
    if (!isConflict(error)) throw error;
  }
  const message = await newest(cluster, place);
  if (message === undefined) throw new Error(`${place.subject} has no messages`);
  return message;
}
