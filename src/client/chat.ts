/**
 * One person in one room: joins, says, hears, and comes back after a broken connection without
 * losing or repeating anything.
 *
 * Data moves one way round: say → outbox → seal → link → relay → link → open → events.
 */
import { HOST_UNKNOWN, UNTRUSTED } from "../bun-transport.ts";
import { EXIT, type ExitCode } from "../cli/exit.ts";
import { type Backend, DeviceError } from "../crypto/backend.ts";
import type { Entry } from "../protocol/entry.ts";
import {
  ENVELOPE_OVERHEAD_BYTES,
  OpeningSessions,
  PAYLOAD_AT,
  SealingSession,
} from "../protocol/envelope.ts";
import { type CodeName, codeName, ProtocolError } from "../protocol/errors.ts";
import { FrameType, MAX_FRAME } from "../protocol/frame.ts";
import { accessProof } from "../protocol/keys.ts";
import {
  type Missed,
  type Remark,
  type Start,
  TOKEN_BYTES,
  VERSION,
  type Welcome,
} from "../protocol/messages.ts";
import {
  decodePayload,
  encodePayload,
  largestText,
  type Payload,
  SENDER_BYTES,
} from "../protocol/payload.ts";
import { reasonOf } from "../reason.ts";
import { type Alarm, pause } from "../runtime.ts";
import type { ChatEvent, Warning } from "./events.ts";
import { harmless } from "./harmless.ts";
import { HistoryReader } from "./history.ts";
import { Link, type LinkHandler, type LinkOptions } from "./link.ts";
import { Outbox, type Outgoing } from "./outbox.ts";
import { Presence } from "./presence.ts";
import { Reconnect } from "./reconnect.ts";
import { Roster } from "./roster.ts";
import { utf8Bytes } from "./text.ts";

export interface ChatOptions extends LinkOptions {
  readonly roomKey: Uint8Array;
  readonly roomId: Uint8Array;
  readonly nick: string;
  readonly backend: Backend;
  /** The relay's access key, 32 bytes, where it asks for one. */
  readonly accessKey: Uint8Array | undefined;
  /** Entries of before the join that are wanted. */
  readonly history: number;
  /** How long to go without a connection that accepts what is said before giving up, in milliseconds. */
  readonly patienceMs: number;
  readonly onEvent: (event: ChatEvent) => void;
}

/** Messages sent and not yet acknowledged, at most. */
const WINDOW = 128;
/** How long the own leave may take to come back, in milliseconds. */
const LEAVE_MS = 1000;
/** Senders whose last message number is remembered. */
const MAX_SENDERS = 4096;

/** After these a new try can't go better. */
const HOPELESS: Partial<Record<CodeName, ExitCode>> = {
  version: EXIT.PROTOCOL,
  malformed: EXIT.PROTOCOL,
  "too-large": EXIT.PROTOCOL,
  access: EXIT.PROTOCOL,
};

export class Chat implements LinkHandler {
  readonly sender: string;
  readonly roster = new Roster();
  readonly #options: ChatOptions;
  readonly #senderBytes: Uint8Array;
  readonly #token: Uint8Array;
  readonly #outbox = new Outbox();
  readonly #opening: OpeningSessions;
  readonly #presence: Presence;
  readonly #reconnect: Reconnect;
  /** The highest message number that each sender was heard with: lower ones are repeats. */
  readonly #numbers = new Map<string, number>();
  #nick: string;
  #link: Link | undefined;
  #sealing: SealingSession | undefined;
  #logId: Uint8Array | undefined;
  #lastSeq = 0;
  /** Entries before this one were there when this connection began. */
  #liveFrom = Number.POSITIVE_INFINITY;
  /** Entries before this one have not been asked for. */
  #pastFrom = 1;
  #readingPast = false;
  /** Entries before this one were there when this client joined. */
  #joinedAt = Number.POSITIVE_INFINITY;
  /** Called when the own leave has come back in the log. */
  #leaving: (() => void) | undefined;
  #maxFrame = MAX_FRAME;
  /** Whether an entry of this log was read. */
  #hasRead = false;
  /** What was not told of a connection that may prove no better than those before it. */
  #untold: (ChatEvent & { type: "connected" }) | undefined;
  #retry: Alarm | undefined;
  #ended = false;
  #dropped = 0;

  constructor(options: ChatOptions) {
    const { runtime, patienceMs } = options;
    this.#options = options;
    this.#nick = options.nick;
    this.#senderBytes = runtime.random(new Uint8Array(SENDER_BYTES));
    this.#token = runtime.random(new Uint8Array(TOKEN_BYTES));
    this.#presence = new Presence(runtime, () => this.#sendPresence("here"));
    this.#reconnect = new Reconnect({
      runtime,
      patienceMs,
      waiting: () => this.#outbox.size > 0,
      onGood: () => this.#tellConnected(),
      onImpatient: (welcomed) => this.#giveUp("it gives no answer", welcomed, EXIT.UNAVAILABLE),
    });
    this.sender = Buffer.from(this.#senderBytes).toString("hex");
    this.#opening = new OpeningSessions(options.backend, options.roomKey, options.roomId);
  }

  get nick(): string {
    return this.#nick;
  }

  /** Messages that no acknowledgement has come for. */
  get undelivered(): number {
    return this.#outbox.size;
  }

  /** Messages that could not be sent at all, and never will be. */
  get dropped(): number {
    return this.#dropped;
  }

  /** True while no acknowledgement of message `number` has come. */
  isWaiting(number: number): boolean {
    return this.#outbox.waiting.some((outgoing) => outgoing.number === number);
  }

  /** True while more messages may be handed in without filling memory. */
  get ready(): boolean {
    return this.#outbox.size < WINDOW;
  }

  get connected(): boolean {
    return this.#sealing !== undefined;
  }

  /** Greatest text that goes into one message here, in bytes of UTF-8. */
  get maxTextBytes(): number {
    return largestText(this.#maxFrame - 1 - ENVELOPE_OVERHEAD_BYTES, utf8Bytes(this.#nick));
  }

  start(): void {
    this.#reconnect.trying();
    this.#emit({ type: "connecting", attempt: this.#reconnect.attempt });
    const { roomId } = this.#options;
    const { min, max } = VERSION;
    const access = this.#access;
    const proof = access === undefined ? {} : { access };
    const hello = { minVersion: min, maxVersion: max, roomId, token: this.#token, ...proof };
    this.#link = new Link(this.#options, { ...hello, start: this.#start() }, this);
  }

  #start(): Start {
    if (this.#logId !== undefined) {
      return { kind: "after", logId: this.#logId, seq: this.#lastSeq };
    }
    const count = this.#options.history;
    return count > 0 ? { kind: "last", count } : { kind: "now" };
  }

  /** Sends a message, or keeps it until there is a connection. @returns its number */
  say(kind: "text" | "action", text: string): number {
    return this.#hand({ kind, nick: this.#nick, text, time: this.#date() });
  }

  #hand(message: Omit<Outgoing, "number">): number {
    this.#reconnect.handedIn();
    const { number } = this.#outbox.add(message);
    this.#guard(() => this.#sendWaiting());
    return number;
  }

  #date(): number {
    return this.#options.runtime.clock.date();
  }

  rename(nick: string): void {
    const former = this.#nick;
    this.#nick = nick;
    this.#hand({ kind: "nick", nick, text: former, time: this.#date() });
  }

  /**
   * Gets `count` entries of before those that have been got, and emits the messages among them.
   * @returns why not, where it can't be done
   */
  async past(count: number): Promise<string | undefined> {
    const logId = this.#logId;
    if (logId === undefined) return "there is no connection yet";
    if (this.#readingPast) return "it is being fetched";
    const end = this.#pastFrom;
    if (end <= 1) return "there is nothing earlier";
    const first = Math.max(1, end - count);
    const access = this.#access;
    this.#readingPast = true;
    try {
      const options = { ...this.#options, access };
      const page = await new HistoryReader(options, { logId, first, end }).read();
      this.#pastFrom = first;
      const { messages, refused } = page;
      this.#emit({ type: "past", first, messages: messages.length, refused });
      for (const { seq, payload } of messages) {
        const sender = Buffer.from(payload.sender).toString("hex");
        const { kind, nick, text, time } = payload;
        const name = this.roster.nameOf(sender, nick);
        const said = { seq, sender, nick, name, time, own: sender === this.sender };
        this.#emit({ type: "said", kind, text, ...said, history: true });
      }
      return undefined;
    } catch (error) {
      return harmless(reasonOf(error));
    } finally {
      this.#readingPast = false;
    }
  }

  get #access(): Uint8Array | undefined {
    const { accessKey, roomId } = this.#options;
    return accessKey === undefined ? undefined : accessProof(accessKey, roomId);
  }

  /** Takes leave, sees that it arrives, and closes. */
  async stop(): Promise<void> {
    if (this.connected) {
      const heard = new Promise<void>((resolve) => {
        this.#leaving = resolve;
      });
      this.#guard(() => this.#sendPresence("leave"));
      await Promise.race([heard, pause(this.#options.runtime.clock, LEAVE_MS)]);
    }
    this.#end();
  }

  welcome(welcome: Welcome): void {
    this.#guard(() => {
      const { backend, roomKey, roomId, runtime } = this.#options;
      const returning = this.#logId !== undefined;
      if (welcome.newLog) {
        this.roster.clear();
        // Messages that stand in both are told by their numbers, and shown once.
        this.#opening.forget();
      }
      this.#logId = welcome.logId;
      this.#lastSeq = welcome.start - 1;
      this.#liveFrom = welcome.next;
      if (!returning) this.#joinedAt = welcome.next;
      else if (welcome.newLog) this.#joinedAt = welcome.start;
      if (!returning || welcome.newLog) this.#pastFrom = welcome.start;
      this.#maxFrame = welcome.maxFrame;
      this.#sealing = new SealingSession(backend, roomKey, roomId, runtime.random);
      const history = welcome.next - welcome.start;
      const newLog = welcome.newLog && this.#hasRead;
      if (welcome.newLog) this.#hasRead = false;
      this.#untold = { type: "connected", again: returning, history, newLog };
      if (this.#reconnect.welcomed()) this.#tellConnected();
      this.#outbox.rewind();
      this.#sendPresence("join");
      this.#sendWaiting();
    });
  }

  #tellConnected(): void {
    const event = this.#untold;
    this.#untold = undefined;
    if (event !== undefined) this.#emit(event);
  }

  entry(entry: Entry): void {
    this.#guard(() => {
      this.#lastSeq = entry.seq;
      this.#hasRead = true;
      const opened = this.#opening.open(entry.body);
      if (opened.verdict === "forged") {
        this.#warn("forged", `entry ${entry.seq} is not authentic: altered, or from no member`);
      } else if (opened.verdict === "replayed") {
        this.#warn("replayed", `entry ${entry.seq} was repeated or put out of order; not shown`);
      } else {
        if (opened.skipped > 0) {
          this.#warn(
            "skipped",
            `${opened.skipped} entries of a sender are missing before ${entry.seq}`,
          );
        }
        this.#heard(entry, opened.buffer, opened.end);
      }
      this.#sendWaiting();
    });
  }

  #heard(entry: Entry, buffer: Uint8Array, end: number): void {
    let payload: Payload;
    try {
      payload = decodePayload(buffer, PAYLOAD_AT, end);
    } catch (error) {
      if (!(error instanceof ProtocolError)) throw error;
      this.#warn("malformed", `entry ${entry.seq}: ${error.message}`);
      return;
    }
    const sender = Buffer.from(payload.sender).toString("hex");
    const own = sender === this.sender;
    // That it is in the room is little where it has something to say.
    if (own && (payload.number > 0 || this.#outbox.size === 0)) this.#reconnect.accepted();
    const isNew = payload.number === 0 || this.#firstTime(sender, payload.number);
    if (own && payload.number > 0) this.#delivered(entry.seq, payload.number);
    if (own && payload.kind === "leave") this.#leaving?.();
    const history = entry.seq < this.#joinedAt;
    const news = history ? payload.number > 0 : this.#updateRoster(payload, sender, own, entry);
    // A message that is not new was sent again, its first copy not being known to have arrived.
    if (!isNew || !news) return;
    const { kind, nick, text, time } = payload;
    const name = this.roster.nameOf(sender, nick);
    const said = { seq: entry.seq, sender, nick, name, time, own, history };
    this.#emit({ type: "said", kind, text, ...said });
  }

  /** Notes who is here: false for a presence that is no news. */
  #updateRoster(payload: Payload, sender: string, own: boolean, entry: Entry): boolean {
    const { kind, nick } = payload;
    if (kind === "leave") return this.roster.left(sender);
    const isNew = this.roster.heard(sender, nick, entry.from);
    if (kind === "join" && !own) this.#presence.askedFor(this.roster.size);
    return isNew || (kind !== "join" && kind !== "here");
  }

  #firstTime(sender: string, number: number): boolean {
    const last = this.#numbers.get(sender) ?? 0;
    this.#numbers.delete(sender);
    this.#numbers.set(sender, Math.max(last, number));
    if (this.#numbers.size > MAX_SENDERS) {
      for (const oldest of this.#numbers.keys()) {
        this.#numbers.delete(oldest);
        break;
      }
    }
    return number > last;
  }

  #delivered(seq: number, number: number): void {
    const numbers = this.#outbox.acknowledge(number).map((outgoing) => outgoing.number);
    if (numbers.length > 0) this.#emit({ type: "delivered", seq, numbers });
  }

  gone(entry: Entry): void {
    this.#lastSeq = entry.seq;
    const member = this.roster.gone(entry.from);
    if (member !== undefined && member.sender !== this.sender) {
      const name = this.roster.nameOf(member.sender, member.nick);
      this.#emit({ type: "lost", name, sender: member.sender });
    }
    this.#guard(() => this.#sendWaiting());
  }

  missed(missed: Missed): void {
    this.#guard(() => {
      this.#lastSeq = missed.first + missed.count - 1;
      this.#opening.excuseGaps();
      this.#emit({ type: "missed", ...missed });
      // Own entries may be among them: sent again, they are recognised by whoever has them.
      this.#outbox.rewind();
      this.#sendWaiting();
    });
  }

  notice(remark: Remark): void {
    this.#emit({ type: "notice", text: harmless(remark.text) });
  }

  down(why: string, remark: Remark | undefined): void {
    if (this.#ended) return;
    this.#link = undefined;
    this.#presence.cancel();
    if (this.#sealing !== undefined) {
      this.#sealing.close();
      this.#sealing = undefined;
    }
    this.#untold = undefined;
    const code = remark === undefined ? undefined : codeName(remark.code);
    const hopeless = code === undefined ? undefined : HOPELESS[code];
    const said = harmless(why);
    if (hopeless !== undefined) {
      this.#fail(hopeless, `the relay refused: ${said}`);
      return;
    }
    if (why.startsWith(UNTRUSTED)) {
      this.#fail(EXIT.PROTOCOL, said);
      return;
    }
    const next = this.#reconnect.down(said);
    if (next.kind === "give-up") {
      const exitCode = why === HOST_UNKNOWN ? EXIT.NOHOST : EXIT.UNAVAILABLE;
      this.#giveUp(said, next.welcomed, exitCode);
      return;
    }
    const { afterMs: retryMs, news } = next;
    const { attempt } = this.#reconnect;
    if (news) this.#emit({ type: "disconnected", why: said, retryMs, attempt });
    this.#retry = this.#options.runtime.clock.after(retryMs, () => this.start());
  }

  #giveUp(why: string, welcomed: boolean, exitCode: ExitCode): void {
    const { host, port } = this.#options.endpoint;
    const trouble = welcomed ? "nothing was accepted by" : "no connection to";
    this.#fail(exitCode, `${trouble} ${host} port ${port}: ${why}`);
  }

  /** Sends what waits, once all entries of before this connection are known. */
  #sendWaiting(): void {
    if (this.#sealing === undefined || this.#lastSeq + 1 < this.#liveFrom) return;
    for (;;) {
      const outgoing = this.#outbox.next();
      if (outgoing === undefined) return;
      this.#send(outgoing);
    }
  }

  #send(outgoing: Outgoing): void {
    const link = this.#link;
    const sealing = this.#sealing;
    if (link === undefined || sealing === undefined) return;
    if (utf8Bytes(outgoing.text) > this.maxTextBytes && outgoing.kind !== "nick") {
      this.#warn("undeliverable", `message ${outgoing.number} is too long for this relay`);
      this.#outbox.drop(outgoing.number);
      this.#dropped += 1;
      return;
    }
    const payload = { ...outgoing, sender: this.#senderBytes };
    link.send(
      FrameType.SEND,
      sealing.seal((buffer, at) => encodePayload(payload, buffer, at)),
    );
  }

  #sendPresence(kind: "join" | "leave" | "here"): void {
    this.#send({ kind, number: 0, nick: this.#nick, text: "", time: this.#date() });
  }

  #warn(warning: Warning, text: string): void {
    this.#emit({ type: "warning", warning, text });
  }

  #emit(event: ChatEvent): void {
    if (!this.#ended) this.#options.onEvent(event);
  }

  /** A device that was asked for by its path has failed: there is no going on without it. */
  #guard(action: () => void): void {
    if (this.#ended) return;
    try {
      action();
    } catch (error) {
      if (!(error instanceof DeviceError)) throw error;
      this.#fail(EXIT.IOERR, error.message);
    }
  }

  #fail(exitCode: ExitCode, why: string): void {
    this.#emit({ type: "ended", exitCode, why });
    this.#end();
  }

  #end(): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#retry?.cancel();
    this.#reconnect.cancel();
    this.#presence.cancel();
    this.#link?.close();
    this.#sealing?.close();
    this.#sealing = undefined;
    this.#opening.close();
    this.#options.backend.close();
  }
}
