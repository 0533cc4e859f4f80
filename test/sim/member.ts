/**
 * A member of a room that speaks the protocol byte by byte, as the real client does, but in plain text, and
 * checks every entry: what it is, that it is the next one, and that it is told the truth of what it missed.
 */
import { decodeEntry, type Entry } from "../../src/protocol/entry.ts";
import { encodeFrame, FrameParser, FrameType } from "../../src/protocol/frame.ts";
import {
  decodeMissed,
  decodeRemark,
  decodeWelcome,
  encodeHello,
  encodePing,
  type Missed,
  type Remark,
  type Start,
  TOKEN_BYTES,
  VERSION,
  type Welcome,
} from "../../src/protocol/messages.ts";
import type { Alarm, Runtime } from "../../src/runtime.ts";
import type { ByteSocket, ClientTransport } from "../../src/transport.ts";
import { short, type Truth, Violation } from "./truth.ts";

/** What a member asks of the world that it lives in. */
export interface MemberWorld {
  readonly truth: Truth;
  /** Milliseconds of simulated time. */
  now(): number;
  /** The next relay to try; undefined while there is none. */
  relay(member: Member): { host: string; port: number } | undefined;
  /** The relay that a member is connected to has told it something. @throws Violation if that is not so */
  missed(member: Member, missed: Missed): void;
  newLog(member: Member, welcome: Welcome): void;
  refused(member: Member, code: number, why: string): void;
  /** What it sent over an older connection stands in the log after it came back. */
  late(member: Member, seq: number): void;
}

const RETRY_MS = [50, 100, 300, 1000, 3000] as const;
const CONNECT_MS = 10_000;

interface Sent {
  readonly text: string;
  /** When it went out on this connection; undefined while it has not. */
  at: number | undefined;
  /** It has gone out, on this connection or another: it may be in the log. */
  tried: boolean;
}

export class Member {
  readonly name: string;
  readonly room: string;
  readonly #roomId: Uint8Array;
  readonly #runtime: Runtime;
  readonly #transport: ClientTransport;
  readonly #world: MemberWorld;
  readonly #token: Uint8Array;
  readonly #first: Start;
  #parser = new FrameParser(1 << 17);
  #socket: ByteSocket | undefined;
  #out: Uint8Array[] = [];
  /** The first of them is what the socket did not take. */
  #short = false;
  /** Tells what comes of this connection from what comes of an older one. */
  #connection = 0;
  /** There is a connection, or one is being made. */
  #trying = false;
  #welcomed = false;
  #liveFrom = 0;
  /** The relays' numbers of its connections; the last is that of the present one. */
  readonly #numbers: number[] = [];
  #pingMs = CONNECT_MS;
  #heardAt = 0;
  #tries = 0;
  #stalled = false;
  #said = 0;
  #ended = false;
  #ticker: Alarm;
  /** What is not known to be in the log, oldest first. */
  unacknowledged: Sent[] = [];
  /** The log that it reads, "" before it has been in one; and the number of the entry that comes next. */
  log = "";
  next = 0;
  /** Which relay it is connected to, as the world numbers them. */
  relay = 0;
  /** Called with every entry's text. */
  onEntry: (text: string) => void = () => undefined;

  constructor(
    name: string,
    room: { readonly name: string; readonly id: Uint8Array },
    runtime: Runtime,
    transport: ClientTransport,
    world: MemberWorld,
    first: Start = { kind: "now" },
  ) {
    this.name = name;
    this.room = room.name;
    this.#roomId = room.id;
    this.#runtime = runtime;
    this.#transport = transport;
    this.#world = world;
    this.#first = first;
    this.#token = runtime.random(new Uint8Array(TOKEN_BYTES));
    this.#ticker = runtime.clock.every(1000, () => this.#tick());
    this.#connect();
  }

  /** Connected, and has read all that was there when it came. */
  get inRoom(): boolean {
    return this.#welcomed && this.next >= this.#liveFrom;
  }

  /** How it stands, for who looks for what is wrong. */
  get state(): string {
    const { length } = this.unacknowledged;
    const sent = this.unacknowledged.filter(({ at }) => at !== undefined).length;
    const where = this.#welcomed ? `in ${this.log.slice(0, 4)}` : "outside";
    return `${this.name} ${where} at ${this.next} of ${this.#liveFrom}, ${length} to say, ${sent} said`;
  }

  get stalled(): boolean {
    return this.#stalled;
  }

  /** Says something of so many bytes, more or less: its own name and number are in it. */
  say(bytes: number): void {
    this.#said += 1;
    this.#send(`${this.room} ${this.name} ${this.#said} `.padEnd(bytes, "."));
  }

  /** Says nothing, so many times, all at once: the smallest entries. Lost ones are not sent again. */
  sayNothing(times: number): void {
    if (!this.inRoom) return;
    for (let i = 0; i < times; i++) {
      this.#world.truth.sends(this.room, "");
      this.#out.push(encodeFrame(FrameType.SEND, new Uint8Array(0)));
    }
    this.#flush();
  }

  #send(text: string): void {
    this.#world.truth.sends(this.room, text);
    this.unacknowledged.push({ text, at: undefined, tried: false });
    this.#sendWaiting();
  }

  #sendWaiting(): void {
    if (!this.inRoom) return;
    for (const sent of this.unacknowledged) {
      if (sent.at !== undefined) continue;
      sent.at = this.#world.now();
      sent.tried = true;
      this.#out.push(encodeFrame(FrameType.SEND, Buffer.from(sent.text, "latin1")));
    }
    this.#flush();
  }

  /** Reads nothing for a while. */
  stall(milliseconds: number): void {
    if (this.#stalled || this.#socket === undefined) return;
    this.#stalled = true;
    this.#socket.pause();
    this.#runtime.clock.after(milliseconds, () => {
      this.#stalled = false;
      this.#heardAt = this.#world.now();
      this.#socket?.resume();
    });
  }

  /** Leaves for good. */
  end(): void {
    this.#ended = true;
    this.#ticker.cancel();
    this.#socket?.shutdown();
  }

  #connect(): void {
    const endpoint = this.#world.relay(this);
    this.#connection += 1;
    this.#trying = true;
    const connection = this.#connection;
    const isThis = () => connection === this.#connection && !this.#ended;
    this.#heardAt = this.#world.now();
    if (endpoint === undefined) {
      this.#down(connection);
      return;
    }
    this.#parser = new FrameParser(1 << 17);
    this.#transport.connect(endpoint, undefined, {
      open: (socket) => {
        if (!isThis()) {
          socket.terminate();
          return;
        }
        this.#socket = socket;
        this.#out = [this.#hello()];
        this.#short = false;
        this.#flush();
      },
      data: (chunk) => {
        if (!isThis()) return;
        this.#heardAt = this.#world.now();
        this.#parser.feed(chunk, this.#frame);
      },
      drain: () => {
        if (isThis()) this.#flush();
      },
      closed: () => this.#down(connection),
    });
  }

  #hello(): Uint8Array {
    const { min, max } = VERSION;
    const start: Start =
      this.log === ""
        ? this.#first
        : { kind: "after", logId: Buffer.from(this.log, "hex"), seq: this.next - 1 };
    const [roomId, token] = [this.#roomId, this.#token];
    return encodeHello({ minVersion: min, maxVersion: max, roomId, token, start });
  }

  #flush(): void {
    const socket = this.#socket;
    while (socket !== undefined && this.#out.length > 0) {
      // What the socket did not take goes first, by itself: to copy it each time would take for ever.
      const [first = new Uint8Array(0)] = this.#out;
      const all = this.#short || this.#out.length === 1 ? first : Buffer.concat(this.#out);
      const taken = Math.max(0, socket.write(all));
      const rest = this.#short ? this.#out.slice(1) : [];
      this.#short = taken < all.length;
      this.#out = this.#short ? [all.subarray(taken), ...rest] : rest;
      if (this.#short) return;
    }
  }

  #down(connection: number): void {
    if (connection !== this.#connection || !this.#trying || this.#ended) return;
    this.#connection += 1;
    this.#trying = false;
    this.#socket = undefined;
    this.#welcomed = false;
    this.#out = [];
    for (const sent of this.unacknowledged) sent.at = undefined;
    const pause = RETRY_MS[Math.min(this.#tries, RETRY_MS.length - 1)] as number;
    this.#tries += 1;
    this.#runtime.clock.after(pause, () => this.#connect());
  }

  /** Looks for signs of life, as the real client does. */
  #tick(): void {
    const silent = this.#world.now() - this.#heardAt;
    if (this.#stalled || !this.#trying) return;
    if (silent > (this.#welcomed ? this.#pingMs * 2 + 1000 : CONNECT_MS)) {
      this.#socket?.terminate();
      this.#down(this.#connection);
    } else if (this.#welcomed && silent > this.#pingMs) {
      this.#out.push(encodePing(FrameType.PING, new Uint8Array(8)));
      this.#flush();
    }
  }

  readonly #frame = (type: number, bytes: Uint8Array, start: number, end: number): boolean => {
    const connection = this.#connection;
    switch (type) {
      case FrameType.WELCOME:
        this.#welcome(decodeWelcome(bytes.subarray(start, end)));
        break;
      case FrameType.ENTRY:
        this.#entry(decodeEntry(bytes, start, end));
        break;
      case FrameType.GONE: {
        const { seq, from, body } = decodeEntry(bytes, start, end);
        this.#sees(seq, `GONE ${from} ${body[0]}`, from);
        this.#sendWaiting();
        break;
      }
      case FrameType.MISSED:
        this.#missed(decodeMissed(bytes.subarray(start, end)));
        break;
      case FrameType.PING:
        this.#out.push(encodePing(FrameType.PONG, bytes.subarray(start, end)));
        this.#flush();
        break;
      case FrameType.CLOSE:
        this.#refused(decodeRemark(bytes.subarray(start, end)));
        this.#socket?.shutdown();
        this.#down(connection);
        break;
      case FrameType.NOTICE:
      case FrameType.PONG:
        break;
      default:
        throw new Violation(`${this.name} is sent frame type ${type}`);
    }
    return connection === this.#connection;
  };

  #refused({ code, text }: Remark): void {
    this.#world.refused(this, code, text);
  }

  #welcome(welcome: Welcome): void {
    const log = Buffer.from(welcome.logId).toString("hex");
    if (this.#welcomed) throw new Violation(`${this.name} is welcomed twice`);
    if (welcome.start > welcome.next || welcome.oldest > welcome.next) {
      throw new Violation(`${this.name} is to begin at ${welcome.start} of ${welcome.next}`);
    }
    if (this.log === "") {
      this.#checkStart(welcome);
      this.next = welcome.start;
    } else if (welcome.newLog) {
      if (welcome.start !== welcome.oldest) {
        throw new Violation(`${this.name} is to begin a new log at ${welcome.start}`);
      }
      // What it said may stand in the new log's beginning, and be gone from there already.
      this.#markRepeats();
      this.#world.newLog(this, welcome);
      this.next = welcome.start;
    } else if (log !== this.log) {
      throw new Violation(`${this.name} is to go on in another log`);
    } else if (welcome.start < this.next || welcome.next < this.next) {
      throw new Violation(`${this.name} at ${this.next} is to go on at ${welcome.start}`);
    }
    this.log = log;
    this.#numbers.push(welcome.connection);
    this.#welcomed = true;
    this.#tries = 0;
    this.#liveFrom = welcome.next;
    this.#pingMs = welcome.pingSeconds * 1000;
    this.#sendWaiting();
  }

  /** It begins where it asked to. */
  #checkStart({ start, oldest, next }: Welcome): void {
    const first = this.#first;
    const wanted = first.kind === "last" ? Math.max(oldest, next - first.count) : next;
    if (start === wanted) return;
    throw new Violation(`${this.name} asked for entries from ${wanted} on, and gets ${start}`);
  }

  #entry({ seq, from, body }: Entry): void {
    const text = Buffer.from(body).toString("latin1");
    // Once it has come back nothing can come any more of what it sent before.
    if (seq >= this.#liveFrom && from !== this.#numbers.at(-1) && this.#numbers.includes(from)) {
      this.#world.late(this, seq);
    }
    const place = { log: this.log, seq };
    this.#sees(seq, text, from);
    this.onEntry(text);
    const at = this.unacknowledged.findIndex((sent) => sent.text === text);
    if (at >= 0) {
      const first = this.unacknowledged[0]?.text ?? "";
      if (at > 0 && !this.#world.truth.isRepeated(first)) {
        throw new Violation(`${this.name}: "${short(text)}" came before "${short(first)}"`);
      }
      this.unacknowledged.splice(at, 1);
      this.#world.truth.acknowledges(this.room, place, text, this.#world.now());
    }
    this.#sendWaiting();
  }

  #sees(seq: number, text: string, from: number): void {
    if (seq !== this.next) {
      throw new Violation(`${this.name} is sent entry ${seq} when ${this.next} is next`);
    }
    this.next = seq + 1;
    this.#world.truth.sees(this.name, this.room, { log: this.log, seq, from }, text);
  }

  #missed(missed: Missed): void {
    if (missed.first !== this.next || missed.count < 1) {
      const what = `${missed.count} from ${missed.first}`;
      throw new Violation(`${this.name} is told that it missed ${what} when ${this.next} is next`);
    }
    this.#world.missed(this, missed);
    this.next = missed.first + missed.count;
    // Own entries may be among them: they go out again.
    this.#markRepeats();
    for (const sent of this.unacknowledged) sent.at = undefined;
    this.#sendWaiting();
  }

  /** It can't know of what it has tried to say whether it is in the log: that may stand there twice. */
  #markRepeats(): void {
    for (const { text, tried } of this.unacknowledged) {
      if (tried) this.#world.truth.repeats(text);
    }
  }
}
