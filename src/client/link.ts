/** One TCP connection to a relay: frames in, frames out, signs of life. */
import type { Socket } from "bun";
import type { Endpoint } from "../cli/values.ts";
import { decodeEntry, ENTRY_EXTRA_BYTES, type Entry } from "../protocol/entry.ts";
import { ProtocolError } from "../protocol/errors.ts";
import { encodeFrame, FrameParser, FrameType, MAX_FRAME } from "../protocol/frame.ts";
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

export interface LinkHandler {
  welcome(welcome: Welcome): void;
  entry(entry: Entry): void;
  gone(entry: Entry): void;
  missed(missed: Missed): void;
  notice(remark: Remark): void;
  /** The connection is over. `remark` is the relay's own word for why, if it gave one. */
  down(why: string, remark: Remark | undefined): void;
}

/** How a client makes sure of its relay. */
export interface TlsOptions {
  /** Certificates, as PEM, that the relay's must come from; undefined for those the system trusts. */
  readonly ca?: string;
}

/** How long a connection and its handshake may take, in milliseconds. */
const CONNECT_MS = 10_000;
const TICK_MS = 1000;

export class Link {
  readonly #handler: LinkHandler;
  readonly #parser = new FrameParser(MAX_FRAME + ENTRY_EXTRA_BYTES);
  readonly #onFrame = (type: number, bytes: Uint8Array, start: number, end: number) =>
    this.#frame(type, bytes, start, end);
  #socket: Socket | undefined;
  /** Bytes that the socket has not taken yet. */
  #unsent: Uint8Array[] = [];
  #remark: Remark | undefined;
  #down = false;
  #welcomed = false;
  #pingMs = CONNECT_MS;
  #heardAt = performance.now();
  readonly #ticker: Timer;

  constructor(endpoint: Endpoint, hello: Hello, handler: LinkHandler, tls: TlsOptions | undefined) {
    this.#handler = handler;
    this.#ticker = setInterval(() => this.#tick(), TICK_MS);
    this.#write(encodeHello(hello));
    Bun.connect({
      hostname: endpoint.host,
      port: endpoint.port,
      ...(tls === undefined ? {} : { tls: { ...tls, serverName: endpoint.host } }),
      socket: {
        open: (socket) => {
          if (this.#down) socket.terminate();
          else if (tls === undefined) this.#opened(socket);
        },
        // Nothing is sent before the relay's certificate and name have been found right.
        handshake: (socket, verified, error) => {
          if (verified && !this.#down) this.#opened(socket);
          else this.#distrust(socket, error);
        },
        data: (_, chunk) => this.#receive(chunk),
        drain: () => this.#flush(),
        close: (_, error) => this.#end(error?.message ?? "the relay closed the connection"),
        error: (_, error) => this.#end(error.message),
        connectError: (_, error) => this.#end(connectProblem(error)),
      },
    }).catch((error: unknown) => this.#end(connectProblem(error)));
  }

  #opened(socket: Socket): void {
    this.#socket = socket;
    socket.setNoDelay(true);
    this.#heardAt = performance.now();
    this.#flush();
  }

  #distrust(socket: Socket, error: Error | null): void {
    const code = error !== null && "code" in error ? String(error.code) : "";
    this.#end(tlsProblem(code, error?.message ?? "no reason given"));
    socket.terminate();
  }

  /** Sends a frame; what the socket does not take at once follows when it can. */
  send(type: number, body: Uint8Array): void {
    this.#write(encodeFrame(type, body));
  }

  #write(frame: Uint8Array): void {
    this.#unsent.push(frame);
    if (this.#unsent.length === 1) this.#flush();
  }

  #flush(): void {
    const socket = this.#socket;
    if (socket === undefined || this.#down || this.#unsent.length === 0) return;
    const all = this.#unsent.length === 1 ? this.#unsent[0] : Buffer.concat(this.#unsent);
    if (all === undefined) return;
    const taken = Math.max(0, socket.write(all));
    this.#unsent = taken < all.length ? [all.subarray(taken)] : [];
  }

  #receive(chunk: Uint8Array): void {
    this.#heardAt = performance.now();
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
      this.#write(encodePing(FrameType.PONG, bytes.slice(start, end)));
    } else if (type !== FrameType.PONG) {
      throw new ProtocolError("malformed", `a frame of the unknown type ${type}`);
    }
    return !this.#down;
  }

  /** Looks for signs of life: a relay that pings others is heard at least so often. */
  #tick(): void {
    const silent = performance.now() - this.#heardAt;
    if (!this.#welcomed && silent > CONNECT_MS) {
      this.#end(`no answer within ${CONNECT_MS / 1000} s`);
    } else if (this.#welcomed && silent > this.#pingMs * 2 + TICK_MS) {
      this.#end(`no sign of life from the relay for ${Math.round(silent / 1000)} s`);
    } else if (this.#welcomed && silent > this.#pingMs) {
      this.#write(encodePing(FrameType.PING, new Uint8Array(8)));
    }
  }

  /** Ends the connection from this side, after what is still unsent where the socket takes it. */
  close(): void {
    if (this.#down) return;
    this.#flush();
    this.#down = true;
    clearInterval(this.#ticker);
    this.#socket?.end();
  }

  #end(why: string): void {
    if (this.#down) return;
    this.#down = true;
    clearInterval(this.#ticker);
    this.#socket?.end();
    this.#handler.down(why, this.#remark);
  }
}

/** What a failed TLS handshake means. */
function tlsProblem(code: string, message: string): string {
  switch (code) {
    case "ERR_TLS_CERT_ALTNAME_INVALID":
      return `${UNTRUSTED}: its certificate is for another name (${message})`;
    case "CERT_HAS_EXPIRED":
      return `${UNTRUSTED}: its certificate has expired`;
    case "ECONNRESET":
    case "EPROTO":
      return "the relay speaks no TLS there, or not this client's (try without --tls)";
    default:
      return `${UNTRUSTED}: ${message} (name its issuer's certificate with --tls-ca)`;
  }
}

/** How the reason begins that is given for a certificate that is not to be trusted. */
export const UNTRUSTED = "the relay can't be trusted";

/** What a failed connection means. */
function connectProblem(error: unknown): string {
  const code = error instanceof Error && "code" in error ? String(error.code) : "";
  switch (code) {
    case "ECONNREFUSED":
      return "nothing listens there (is chat-server running?)";
    case "ENOTFOUND":
    case "EAI_AGAIN":
    case "DNS_ENOTFOUND":
      return HOST_UNKNOWN;
    default:
      return error instanceof Error ? `${error.message}${code ? ` (${code})` : ""}` : String(error);
  }
}

/** The reason given for a host name that can't be resolved. */
export const HOST_UNKNOWN = "the host is not known";
