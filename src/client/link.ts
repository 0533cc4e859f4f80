/** One connection to a relay: frames in, frames out, signs of life. */
import type { Endpoint } from "../cli/values.ts";
import { decodeEntry, ENTRY_EXTRA_BYTES, type Entry } from "../protocol/entry.ts";
import { ProtocolError } from "../protocol/errors.ts";
import { copyOf, encodeFrame, FrameParser, FrameType, MAX_FRAME } from "../protocol/frame.ts";
import {
  decodeMissed,
  decodeRemark,
  decodeWelcome,
  encodeHello,
  encodePing,
  type Hello,
  type Missed,
  type Remark,
  type Welcome,
} from "../protocol/messages.ts";
import type { Alarm, Clock, Runtime } from "../runtime.ts";
import type { ByteSocket, ClientTransport, TlsOptions } from "../transport.ts";

export interface LinkHandler {
  welcome(welcome: Welcome): void;
  entry(entry: Entry): void;
  gone(entry: Entry): void;
  missed(missed: Missed): void;
  notice(remark: Remark): void;
  /** The connection is over. `remark` is the relay's own word for why, if it gave one. */
  down(why: string, remark: Remark | undefined): void;
}

export interface LinkOptions {
  readonly runtime: Runtime;
  readonly transport: ClientTransport;
  readonly endpoint: Endpoint;
  /** Undefined for a connection without TLS. */
  readonly tls: TlsOptions | undefined;
}

/** How long a connection and its handshake may take, in milliseconds. */
const CONNECT_MS = 10_000;
const TICK_MS = 1000;
const PING_BYTES = 8;
/** How long the relay may take to close its side after this one, in milliseconds. */
const LINGER_MS = 2000;

export class Link {
  readonly #handler: LinkHandler;
  readonly #parser = new FrameParser(MAX_FRAME + ENTRY_EXTRA_BYTES);
  readonly #onFrame = (type: number, bytes: Uint8Array, start: number, end: number) =>
    this.#frame(type, bytes, start, end);
  readonly #clock: Clock;
  #socket: ByteSocket | undefined;
  /** Bytes that the socket has not taken yet. */
  #unsent: Uint8Array[] = [];
  /** The first of them is what is left of others. */
  #short = false;
  #remark: Remark | undefined;
  #down = false;
  #welcomed = false;
  #pingMs = CONNECT_MS;
  #heardAt: number;
  readonly #ticker: Alarm;
  #linger: Alarm | undefined;

  constructor(options: LinkOptions, hello: Hello, handler: LinkHandler) {
    const { runtime, transport, endpoint, tls } = options;
    this.#handler = handler;
    this.#clock = runtime.clock;
    this.#heardAt = this.#clock.now();
    this.#ticker = this.#clock.every(TICK_MS, () => this.#tick());
    this.#write(encodeHello(hello));
    transport.connect(endpoint, tls, {
      open: (socket) => this.#opened(socket),
      data: (chunk) => this.#receive(chunk),
      drain: () => this.#flush(),
      closed: (why) => {
        this.#linger?.cancel();
        this.#end(why);
      },
    });
  }

  #opened(socket: ByteSocket): void {
    if (this.#down) {
      socket.terminate();
      return;
    }
    this.#socket = socket;
    this.#heardAt = this.#clock.now();
    this.#flush();
  }

  /** Sends a frame; what the socket does not take at once follows when it can. */
  send(type: number, body: Uint8Array): void {
    this.#write(encodeFrame(type, body));
  }

  #write(frame: Uint8Array): void {
    this.#unsent.push(frame);
    if (!this.#short) this.#flush();
  }

  #flush(): void {
    const socket = this.#socket;
    while (socket !== undefined && !this.#down && this.#unsent.length > 0) {
      // What the socket did not take goes first, by itself; the rest goes together.
      const alone = this.#short ? this.#unsent.slice(0, 1) : this.#unsent;
      const all = alone.length === 1 ? (alone[0] as Uint8Array) : Buffer.concat(alone);
      const taken = Math.max(0, socket.write(all));
      const rest = this.#unsent.slice(alone.length);
      this.#short = taken < all.length;
      this.#unsent = this.#short ? [all.subarray(taken), ...rest] : rest;
      if (this.#short) return;
    }
  }

  #receive(chunk: Uint8Array): void {
    this.#heardAt = this.#clock.now();
    try {
      this.#parser.feed(chunk, this.#onFrame);
    } catch (error) {
      if (!(error instanceof ProtocolError)) throw error;
      // How a TLS alert begins (RFC 8446, section 5.1): that is what a HELLO without TLS is answered with.
      const alert = !this.#welcomed && chunk[0] === 0x15 && chunk[1] === 0x03;
      this.#end(
        alert
          ? "the relay speaks TLS (use --tls)"
          : `the relay sent ${error.message}; is it a chat relay?`,
      );
    }
  }

  #frame(type: number, bytes: Uint8Array, start: number, end: number): boolean {
    const handler = this.#handler;
    if (type === FrameType.CLOSE) {
      this.#remark = decodeRemark(bytes.subarray(start, end));
      this.#end(this.#remark.text);
    } else if (type === FrameType.NOTICE) {
      handler.notice(decodeRemark(bytes.subarray(start, end)));
    } else if (type === FrameType.WELCOME && !this.#welcomed) {
      this.#welcomed = true;
      const welcome = decodeWelcome(bytes.subarray(start, end));
      this.#pingMs = welcome.pingSeconds * 1000;
      handler.welcome(welcome);
    } else if (!this.#welcomed) {
      throw new ProtocolError("malformed", `frame type ${type} before WELCOME`);
    } else if (type === FrameType.ENTRY) {
      handler.entry(decodeEntry(bytes, start, end));
    } else if (type === FrameType.GONE) {
      handler.gone(decodeEntry(bytes, start, end));
    } else if (type === FrameType.MISSED) {
      handler.missed(decodeMissed(bytes.subarray(start, end)));
    } else if (type === FrameType.PING) {
      if (end - start !== PING_BYTES)
        throw new ProtocolError("malformed", "a ping carries 8 bytes");
      // A relay that reads nothing gets no more of them than the socket holds.
      if (!this.#short) this.#write(encodePing(FrameType.PONG, copyOf(bytes, start, end)));
    } else if (type !== FrameType.PONG) {
      throw new ProtocolError("malformed", `a frame of the unknown type ${type}`);
    }
    return !this.#down;
  }

  /** Looks for signs of life: a relay that pings others is heard at least so often. */
  #tick(): void {
    const silent = this.#clock.now() - this.#heardAt;
    if (!this.#welcomed && silent > CONNECT_MS) {
      this.#end(`no answer within ${CONNECT_MS / 1000} s`);
    } else if (this.#welcomed && silent > this.#pingMs * 2 + TICK_MS) {
      this.#end(`no sign of life from the relay for ${Math.round(silent / 1000)} s`);
    } else if (this.#welcomed && silent > this.#pingMs && !this.#short) {
      this.#write(encodePing(FrameType.PING, new Uint8Array(8)));
    }
  }

  /** Ends the connection from this side, after what is still unsent where the socket takes it. */
  close(): void {
    if (this.#down) return;
    this.#flush();
    this.#down = true;
    this.#ticker.cancel();
    const socket = this.#socket;
    if (socket === undefined) return;
    this.#linger = this.#clock.after(LINGER_MS, () => socket.terminate());
    socket.shutdown();
  }

  #end(why: string): void {
    if (this.#down) return;
    this.#down = true;
    this.#ticker.cancel();
    this.#socket?.terminate();
    this.#handler.down(why, this.#remark);
  }
}
