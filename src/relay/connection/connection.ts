/** One client: its frames in, its entries and the relay's words out, and its end. */
import { GoneReason } from "../../protocol/entry.ts";
import { type CodeName, ProtocolError } from "../../protocol/errors.ts";
import { copyOf, FrameParser, FrameType } from "../../protocol/frame.ts";
import { decodeHello, encodePing, encodeRemark, type Hello } from "../../protocol/messages.ts";
import type { Clock } from "../../runtime.ts";
import type { ByteSocket, SocketHandler } from "../../transport.ts";
import type { Limits } from "../limits.ts";
import type { Counters } from "../metrics.ts";
import type { Room } from "../rooms/room.ts";
import { isToken } from "../rooms/takeover.ts";
import { begin } from "./handshake.ts";
import { Outlet } from "./outlet.ts";
import { Reader } from "./reader.ts";
import { Throttle } from "./throttle.ts";

/** What a connection asks of the relay that holds it. */
export interface Host {
  readonly clock: Clock;
  readonly limits: Limits;
  readonly counters: Counters;
  /**
   * Lets the client in, finds or opens the room and takes the connection in, unless its state is no
   * longer "joining" then. @throws ProtocolError when it can't
   */
  join(connection: Connection, hello: Hello): Promise<Room>;
  /** The connection is over. */
  left(connection: Connection): void;
  /** Says in the relay's log why a client was refused or slowed. */
  refused(connection: Connection, code: CodeName, why: string): void;
  /** Says in the relay's log what went wrong with what keeps the rooms. */
  problem(error: unknown): void;
}

/** What a connection may have waiting besides the log, in bytes, before pings go unanswered. */
const OWN_LIMIT = 1024;

type State = "hello" | "joining" | "open" | "closing" | "closed";

export class Connection implements SocketHandler {
  readonly number: number;
  readonly peer: string;
  /** What connections are counted by. */
  readonly address: string;
  /** This connection's place among its room's members, -1 for none; kept by the room. */
  memberIndex = -1;
  /** When something was last heard of the client, or it took bytes. */
  heardAt: number;
  pingedAt = 0;
  /** When closing began; it is cut off when the client does not close its side. */
  closingAt = 0;
  readonly openedAt: number;
  /** When it asked for its room. */
  joiningAt = 0;
  entriesSent = 0;
  goneReason: number = GoneReason.CLOSED;

  readonly #socket: ByteSocket;
  readonly #host: Host;
  readonly #parser: FrameParser;
  readonly #throttle: Throttle;
  readonly #outlet: Outlet;
  readonly #onFrame = (type: number, bytes: Uint8Array, start: number, end: number) =>
    this.#frame(type, bytes, start, end);
  readonly #congested = () => this.#state === "open" && this.#room?.log.congested === true;
  #state: State = "hello";
  #room: Room | undefined;
  #reader: Reader | undefined;
  /** What came between HELLO and WELCOME. */
  #early: Uint8Array[] = [];
  /** The socket is not read until the room is there. */
  #paused = false;
  /** Messages in the bytes that are being read. */
  #batch = 0;

  constructor(
    socket: ByteSocket,
    number: number,
    names: { readonly peer: string; readonly address: string },
    host: Host,
  ) {
    this.#socket = socket;
    this.number = number;
    this.peer = names.peer;
    this.address = names.address;
    this.#host = host;
    this.openedAt = this.heardAt = host.clock.now();
    this.#parser = new FrameParser(host.limits.maxFrame);
    this.#throttle = new Throttle(socket, host.clock, host.limits);
    this.#outlet = new Outlet(socket, host.counters);
  }

  get state(): State {
    return this.#state;
  }

  get room(): Room | undefined {
    return this.#room;
  }

  /** The relay does not read the client now: its silence says nothing. */
  get unread(): boolean {
    return this.#throttle.paused;
  }

  /** True when the client has been sent all there is. */
  get drained(): boolean {
    return this.#outlet.waiting === 0 && this.#reader?.atEnd !== false;
  }

  data(chunk: Uint8Array): void {
    if (this.#state === "joining") {
      // Little: the socket is not read meanwhile.
      this.#early.push(copyOf(chunk, 0));
      return;
    }
    if (this.#state !== "hello" && this.#state !== "open") return;
    const now = this.#host.clock.now();
    this.heardAt = now;
    this.#host.counters.bytesIn += chunk.length;
    this.#batch = 0;
    try {
      const used = this.#parser.feed(chunk, this.#onFrame);
      if (used < chunk.length && this.state === "joining") this.#early.push(copyOf(chunk, used));
    } catch (error) {
      if (!(error instanceof ProtocolError)) throw error;
      this.goneReason = GoneReason.REFUSED;
      this.close(error.code, error.message);
      return;
    }
    if (this.#throttle.took(this.#batch, chunk.length, now, this.#congested)) this.#sayItIsSlowed();
  }

  #frame(type: number, bytes: Uint8Array, start: number, end: number): boolean {
    this.#batch += 1;
    if (this.#room === undefined) {
      if (type !== FrameType.HELLO) {
        throw new ProtocolError("malformed", "the first frame must be HELLO");
      }
      this.#hello(decodeHello(bytes.subarray(start, end)));
      // What follows it waits for the room.
      return false;
    }
    if (type === FrameType.SEND) {
      this.#room.append(FrameType.ENTRY, this.number, bytes, start, end);
      this.entriesSent += 1;
      this.#host.counters.entries += 1;
    } else if (type === FrameType.PING || type === FrameType.PONG) {
      if (end - start !== 8) throw new ProtocolError("malformed", "a ping carries 8 bytes");
      if (type === FrameType.PING && this.#outlet.waiting < OWN_LIMIT) {
        this.#outlet.say(encodePing(FrameType.PONG, bytes.subarray(start, end)));
      }
    } else {
      throw new ProtocolError("malformed", `frame type ${type} is not a client's to send`);
    }
    return this.#state === "open";
  }

  #hello(hello: Hello): void {
    this.#state = "joining";
    this.joiningAt = this.#host.clock.now();
    // Most rooms are there before the event loop turns.
    this.#host.clock.soon(this.#pauseWhileJoining);
    this.#host.join(this, hello).then(
      (room) => this.#joined(hello, room),
      (error: unknown) => this.#notJoined(error),
    );
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
    const { limits, counters } = this.#host;
    const known = isToken(hello.token);
    const { welcome, wanted, start } = begin(hello, room.log, this.number, known, limits);
    this.#room = room;
    this.#state = "open";
    this.#outlet.say(welcome);
    this.#reader = new Reader(room.log, this.#outlet, wanted, counters, {
      unreadable: (error) => {
        this.#host.problem(error);
        this.close("storage", "what is kept of the room can't be read now; try again later");
      },
    });
    this.#reader.skipTo(start);
    this.pump();
    this.#readOn();
    const early = this.#early;
    this.#early = [];
    for (const chunk of early) if (chunk.length > 0) this.data(chunk);
  }

  #notJoined(error: unknown): void {
    if (this.#state !== "joining") return;
    this.#readOn();
    this.goneReason = GoneReason.REFUSED;
    if (error instanceof ProtocolError) this.close(error.code, error.message);
    else {
      this.#host.problem(error);
      this.close("storage", "the room can't be had now; try again later");
    }
  }

  /** Gives the socket what it will take. */
  pump(): void {
    if (this.#state === "open") this.#reader?.pump();
    else if (this.#state !== "closed") this.#outlet.flush();
  }

  drain(): void {
    this.heardAt = this.#host.clock.now();
    this.#outlet.drained();
    this.pump();
    if (this.#state === "closing" && this.#outlet.waiting === 0) this.#socket.shutdown();
  }

  #sayItIsSlowed(): void {
    const { rate, byteRate } = this.#host.limits;
    const why = `more than ${rate} messages or ${byteRate} bytes a second: you are read more slowly`;
    this.#host.refused(this, "rate-limited", why);
    if (this.#state === "open") {
      this.#outlet.say(encodeRemark(FrameType.NOTICE, "rate-limited", why));
    }
  }

  /** Asks a silent client for a sign of life. */
  ping(now: number): void {
    this.pingedAt = now;
    if (!this.#outlet.full && this.#state === "open") {
      this.#outlet.say(encodePing(FrameType.PING, new Uint8Array(8)));
    }
  }

  /** Tells the client why and closes, once it has taken what it was being sent. */
  close(code: CodeName, why: string): void {
    if (this.#state === "closing" || this.#state === "closed") return;
    if (code !== "shutdown") this.#host.refused(this, code, why);
    // What of the log the socket can't take now is not waited for; the entry begun is.
    this.pump();
    this.#reader?.close();
    this.#throttle.close();
    this.#state = "closing";
    this.closingAt = this.#host.clock.now();
    this.#outlet.say(encodeRemark(FrameType.CLOSE, code, why));
    if (this.#outlet.waiting === 0) this.#socket.shutdown();
  }

  /** Cuts the connection off. */
  terminate(): void {
    this.#socket.terminate();
  }

  closed(): void {
    this.#state = "closed";
    this.#throttle.close();
    this.#reader?.close();
    this.#outlet.close();
    this.#host.left(this);
  }
}
