/**
 * One client: a cursor in its room's log and a socket that takes slices of it.
 *
 * Besides the log a connection has a little of its own to say (WELCOME, PONG, MISSED, ...), and it
 * may stand in the middle of an entry when its socket is full. Both lie in `#own`, which goes out
 * first: the rest of that entry is copied there at once, so that the ring may overwrite it.
 */
import type { Socket } from "bun";
import { GoneReason } from "../protocol/entry.ts";
import { type CodeName, ProtocolError } from "../protocol/errors.ts";
import { FrameParser, FrameType } from "../protocol/frame.ts";
import {
  decodeHello,
  encodeMissed,
  encodePing,
  encodeRemark,
  encodeWelcome,
  type Hello,
  negotiate,
  type Start,
} from "../protocol/messages.ts";
import { hostPort } from "./address.ts";
import type { Limits } from "./limits.ts";
import type { Counters } from "./metrics.ts";
import { TokenBucket } from "./rate.ts";
import type { Ring } from "./ring.ts";
import type { Room } from "./room.ts";
import type { Run } from "./run.ts";

/** What a connection asks of the relay that holds it. */
export interface Host {
  readonly limits: Limits;
  readonly counters: Counters;
  /** Milliseconds on a clock that only rises. */
  now(): number;
  /**
   * Finds or makes the room and takes the connection in; throws ProtocolError when it can't. A room
   * that other relays serve too is found in a while.
   */
  join(connection: Connection, hello: Hello): Room | Promise<Room>;
  /** Says in the relay's log why a client was refused or slowed. */
  refused(connection: Connection, code: CodeName, why: string): void;
  /** Says in the relay's log what went wrong with the disk. */
  problem(error: unknown): void;
}

/** What a connection may have waiting besides the log, in bytes, before pings go unanswered. */
const OWN_LIMIT = 1024;

/** How long a client is not read when its room takes no more, in milliseconds. */
const CONGESTED_MS = 5;

type State = "hello" | "joining" | "open" | "closing" | "closed";

export class Connection {
  readonly number: number;
  readonly peer: string;
  /** This connection's place among its room's members; kept by the room. */
  memberIndex = -1;
  /** When something was last heard of the client, or it took bytes. */
  heardAt: number;
  pingedAt = 0;
  /** When closing began; it is cut off when the client does not close its side. */
  closingAt = 0;
  readonly openedAt: number;
  entriesSent = 0;
  goneReason: number = GoneReason.CLOSED;

  readonly #socket: Socket<Connection>;
  readonly #host: Host;
  readonly #parser: FrameParser;
  readonly #messages: TokenBucket;
  readonly #bytes: TokenBucket;
  readonly #onFrame = (type: number, bytes: Uint8Array, start: number, end: number) =>
    this.#frame(type, bytes, start, end);
  #state: State = "hello";
  #room: Room | undefined;
  /** Position in the room's ring of what comes next; between entries while `#own` has bytes. */
  #cursor = 0;
  /** Sequence number at the cursor as the socket filled up: the ring may forget it meanwhile. */
  #nextSeq = 1;
  /** The ring has forgotten entry `#nextSeq`: what is kept of the log comes first. */
  #behind = false;
  /** A page of what is kept is on its way. */
  #fetching = false;
  /** What came between HELLO and WELCOME. */
  #early: Uint8Array[] = [];
  /** The socket is not read until the room is there. */
  #paused = false;
  #own: Uint8Array | undefined;
  /** The socket took less than it was given: wait for its drain. */
  #full = false;
  #batch = 0;
  #slowed = false;
  #resume: Timer | undefined;

  constructor(socket: Socket<Connection>, number: number, peer: string, host: Host) {
    this.#socket = socket;
    this.number = number;
    this.peer = peer;
    this.#host = host;
    this.openedAt = this.heardAt = host.now();
    this.#parser = new FrameParser(host.limits.maxFrame);
    this.#messages = new TokenBucket(host.limits.rate, this.openedAt);
    this.#bytes = new TokenBucket(host.limits.byteRate, this.openedAt);
  }

  get state(): State {
    return this.#state;
  }

  get room(): Room | undefined {
    return this.#room;
  }

  /** True when the client has been sent all there is. */
  get drained(): boolean {
    return (
      this.#own === undefined &&
      (this.#room === undefined || (!this.#behind && this.#cursor >= this.#room.readable))
    );
  }

  /** The socket brought bytes. */
  receive(chunk: Uint8Array): void {
    if (this.#state === "joining") {
      // Little: the socket is not read meanwhile.
      this.#early.push(Uint8Array.from(chunk));
      return;
    }
    if (this.#state !== "hello" && this.#state !== "open") return;
    const now = this.#host.now();
    this.heardAt = now;
    this.#host.counters.bytesIn += chunk.length;
    this.#batch = 0;
    try {
      const used = this.#parser.feed(chunk, this.#onFrame);
      if (used < chunk.length && this.state === "joining") this.#early.push(chunk.slice(used));
    } catch (error) {
      if (!(error instanceof ProtocolError)) throw error;
      this.goneReason = GoneReason.REFUSED;
      this.close(error.code, error.message);
      return;
    }
    const wait = Math.max(
      this.#messages.take(this.#batch, now),
      this.#bytes.take(chunk.length, now),
    );
    if (wait > 0) this.#slowDown(wait);
    else if (this.#room?.congested) this.#readLater(CONGESTED_MS);
  }

  #frame(type: number, bytes: Uint8Array, start: number, end: number): boolean {
    this.#batch += 1;
    if (this.#room === undefined) {
      if (type !== FrameType.HELLO) {
        throw new ProtocolError("malformed", "the first frame must be HELLO");
      }
      if (!this.#hello(decodeHello(bytes.subarray(start, end)))) return false;
    } else if (type === FrameType.SEND) {
      this.entriesSent += 1;
      this.#host.counters.entries += 1;
      this.#room.append(FrameType.ENTRY, this.number, bytes, start, end);
    } else if (type === FrameType.PING || type === FrameType.PONG) {
      if (end - start !== 8) throw new ProtocolError("malformed", "a ping carries 8 bytes");
      if (type === FrameType.PING && (this.#own?.length ?? 0) < OWN_LIMIT) {
        this.#say(encodePing(FrameType.PONG, bytes.subarray(start, end)));
      }
    } else {
      throw new ProtocolError("malformed", `frame type ${type} is not a client's to send`);
    }
    return this.#state === "open";
  }

  /** @returns false when the room is not there yet, and what follows the HELLO must wait */
  #hello(hello: Hello): boolean {
    this.#state = "joining";
    const room = this.#host.join(this, hello);
    if (!(room instanceof Promise)) {
      this.#welcome(hello, room);
      return true;
    }
    // Most rooms are found before the event loop turns.
    setImmediate(this.#pauseWhileJoining);
    room.then(
      (found) => this.#joined(hello, found),
      (error: unknown) => this.#notJoined(error),
    );
    return false;
  }

  readonly #pauseWhileJoining = () => {
    if (this.#state !== "joining") return;
    this.#paused = true;
    this.#socket.pause();
  };

  #readOn(): void {
    if (this.#paused) this.#socket.resume();
    this.#paused = false;
  }

  #joined(hello: Hello, room: Room): void {
    if (this.#state !== "joining") return;
    this.#welcome(hello, room);
    this.#readOn();
    const early = this.#early;
    this.#early = [];
    for (const chunk of early) if (chunk.length > 0) this.receive(chunk);
  }

  #notJoined(error: unknown): void {
    if (this.#state !== "joining") return;
    this.#readOn();
    this.goneReason = GoneReason.REFUSED;
    if (error instanceof ProtocolError) this.close(error.code, error.message);
    else this.close("storage", "the room can't be had now; try again later");
  }

  #welcome(hello: Hello, room: Room): void {
    const ring = room.ring;
    const sameLog = hello.start.kind !== "after" || equal(hello.start.logId, room.logId);
    const oldest = room.oldestSeq;
    const first = firstWanted(hello.start, oldest, ring.nextSeq, sameLog);
    this.#room = room;
    this.#state = "open";
    this.#nextSeq = Math.max(first, oldest);
    this.#behind = this.#nextSeq < ring.oldestSeq;
    if (!this.#behind) this.#cursor = ring.positionOf(this.#nextSeq);
    this.#say(
      encodeWelcome({
        version: negotiate(hello.minVersion, hello.maxVersion),
        newLog: !sameLog,
        logId: room.logId,
        oldest,
        next: ring.nextSeq,
        start: Math.max(first, oldest),
        connection: this.number,
        maxFrame: this.#host.limits.maxFrame,
        pingSeconds: this.#host.limits.pingSeconds,
      }),
    );
    if (first < oldest) this.#missed(first, oldest);
    this.pump();
  }

  /** Gives the socket what it will take: own frames first, then the log from the cursor on. */
  pump(): void {
    if (this.#full || this.#state === "closed") return;
    if (this.#own !== undefined && !this.#pumpOwn()) return;
    const room = this.#room;
    if (room === undefined || this.#state !== "open") return;
    const ring = room.ring;
    if (this.#behind || this.#cursor < ring.tail) {
      if (!this.#catchUp(room)) return;
    }
    const readable = room.readable;
    while (this.#cursor < readable) {
      const place = ring.place(this.#cursor);
      const length = Math.min(readable - this.#cursor, ring.capacity - place);
      const taken = this.#socket.write(ring.bytes, place, length);
      if (taken < 0) return;
      this.#host.counters.bytesOut += taken;
      this.#cursor += taken;
      if (taken < length) {
        this.#full = true;
        this.#keepRest(ring);
        return;
      }
    }
  }

  /** The socket has room again. */
  drain(): void {
    this.heardAt = this.#host.now();
    this.#full = false;
    this.pump();
    if (this.#state === "closing" && this.#own === undefined) this.#finish();
  }

  /** Writes the own frames: true when all of them are out. */
  #pumpOwn(): boolean {
    const own = this.#own;
    if (own === undefined) return true;
    const taken = this.#socket.write(own);
    if (taken < 0) return false;
    this.#host.counters.bytesOut += taken;
    this.#own = taken < own.length ? own.slice(taken) : undefined;
    this.#full = taken < own.length;
    const ring = this.#room?.ring;
    if (this.#full && ring !== undefined && !this.#behind && this.#cursor >= ring.tail) {
      this.#nextSeq = this.#cursor === ring.head ? ring.nextSeq : ring.seqAt(this.#cursor);
    }
    return !this.#full;
  }

  #say(frame: Uint8Array): void {
    const own = this.#own;
    this.#own = own === undefined ? frame : Buffer.concat([own, frame]);
    if (!this.#full) this.#pumpOwn();
  }

  /**
   * The ring has overtaken this client, or it began before the ring's oldest entry: gets a page of
   * what is kept.
   * @returns true when the ring's entries come next
   */
  #catchUp(room: Room): boolean {
    this.#behind = true;
    if (this.#fetching) return false;
    if (this.#nextSeq >= room.ring.oldestSeq) return this.#turn(room, undefined);
    const page = this.#page(room);
    if (!(page instanceof Promise)) return this.#turn(room, page);
    this.#fetching = true;
    page.then(
      (got) => this.#fetched(room, got),
      (error: unknown) => {
        this.#host.problem(error);
        this.close("storage", "what is kept of the room can't be read now; try again later");
      },
    );
    return false;
  }

  #fetched(room: Room, page: Run | undefined): void {
    this.#fetching = false;
    if (this.#state === "open" && this.#turn(room, page)) this.pump();
  }

  /** Sends a page, and what is missing before it. @returns true when the ring's entries come next */
  #turn(room: Room, page: Run | undefined): boolean {
    const ring = room.ring;
    if (this.#nextSeq < ring.oldestSeq) {
      const next = page?.first ?? ring.oldestSeq;
      if (next > this.#nextSeq) this.#missed(this.#nextSeq, next);
      this.#nextSeq = next;
      if (page?.first === next) {
        this.#nextSeq = page.next;
        this.#say(page.bytes);
      }
    }
    if (this.#nextSeq < ring.oldestSeq) {
      // Others have their turn between two pages.
      if (!this.#full) setImmediate(this.#goOn);
      return false;
    }
    this.#behind = false;
    this.#cursor = ring.positionOf(this.#nextSeq);
    return !this.#full;
  }

  /** Says that there are no entries from `first` to before `next` any more. */
  #missed(first: number, next: number): void {
    this.#host.counters.missed += next - first;
    this.#say(encodeMissed({ first, count: next - first }));
  }

  /** What is kept from `#nextSeq` on; a disk that fails is a relay that has nothing. */
  #page(room: Room): Run | undefined | Promise<Run | undefined> {
    try {
      return room.page(this.#nextSeq);
    } catch (error) {
      this.#host.problem(error);
      return undefined;
    }
  }

  readonly #goOn = () => this.pump();

  /** Entries that nobody has seen are not to be: who waits for what follows them waits anew. */
  retreat(ring: Ring): void {
    this.#cursor = Math.min(this.#cursor, ring.head);
    this.#nextSeq = Math.min(this.#nextSeq, ring.nextSeq);
  }

  /** The socket is full: what it has of an entry must become whole, whatever the ring does. */
  #keepRest(ring: Ring): void {
    if (this.#cursor === ring.head) {
      this.#nextSeq = ring.nextSeq;
      return;
    }
    const seq = ring.seqAt(this.#cursor);
    const begin = ring.positionOf(seq);
    if (begin === this.#cursor) {
      this.#nextSeq = seq;
      return;
    }
    const end = ring.positionOf(seq + 1);
    this.#own = ring.copy(this.#cursor, end);
    this.#cursor = end;
    this.#nextSeq = seq + 1;
  }

  #slowDown(wait: number): void {
    if (!this.#slowed) {
      this.#slowed = true;
      const { rate, byteRate } = this.#host.limits;
      const why = `more than ${rate} messages or ${byteRate} bytes a second: you are read more slowly`;
      this.#host.refused(this, "rate-limited", why);
      if (this.#state === "open") this.#say(encodeRemark(FrameType.NOTICE, "rate-limited", why));
    }
    this.#readLater(wait);
  }

  #readLater(wait: number): void {
    if (this.#resume !== undefined) return;
    this.#socket.pause();
    this.#resume = setTimeout(() => {
      this.#resume = undefined;
      if (this.#state !== "open") return;
      if (this.#room?.congested) this.#readLater(CONGESTED_MS);
      else this.#socket.resume();
    }, wait);
  }

  /** Asks a silent client for a sign of life. */
  ping(now: number): void {
    this.pingedAt = now;
    if (!this.#full && this.#state === "open") {
      this.#say(encodePing(FrameType.PING, new Uint8Array(8)));
    }
  }

  /** Tells the client why and closes, once it has taken what it was being sent. */
  close(code: CodeName, why: string): void {
    if (this.#state === "closing" || this.#state === "closed") return;
    if (code !== "shutdown") this.#host.refused(this, code, why);
    this.pump();
    // What of the log the socket could not take now is not waited for; the entry begun is.
    this.#behind = false;
    this.#cursor = this.#room?.readable ?? 0;
    this.#state = "closing";
    this.closingAt = this.#host.now();
    this.#say(encodeRemark(FrameType.CLOSE, code, why));
    if (this.#own === undefined) this.#finish();
  }

  /** Sends FIN; the client's answer, or the relay's sweep, ends it. */
  #finish(): void {
    this.#socket.end();
  }

  /** Cuts the connection off. */
  terminate(): void {
    this.#socket.terminate();
  }

  /** The socket is closed. */
  closed(): void {
    this.#state = "closed";
    clearTimeout(this.#resume);
    this.#own = undefined;
  }
}

function firstWanted(start: Start, oldest: number, next: number, sameLog: boolean): number {
  switch (start.kind) {
    case "now":
      return next;
    case "last":
      return Math.max(oldest, next - Math.min(start.count, next));
    case "after":
      if (!sameLog) return 1;
      return Math.min(start.seq + 1, next);
  }
}

function equal(a: Uint8Array, b: Uint8Array): boolean {
  return Buffer.compare(a, b) === 0;
}

/** How a peer is named in logs. */
export function peerName(socket: Socket<Connection>): string {
  return hostPort(socket.remoteAddress, socket.remotePort);
}
