/**
 * One end of a simulated connection, as Bun's are (test/contract/sockets.ts holds both to that).
 *
 * `terminate` tells the handler before it returns. A FIN from the other side closes this side too, once
 * everything before it has been read; what this side has written by then still goes out.
 */
import type { ByteSocket } from "../../src/transport.ts";
import type { Pipe } from "./pipe.ts";
import type { Prng } from "./prng.ts";

/** What either kind of handler is told. */
export interface Ears {
  data(chunk: Uint8Array): void;
  drain(): void;
  closed(why: string): void;
}

/** The connection that a socket is one end of. */
export interface Wire {
  /** To the other side. */
  readonly out: Pipe;
  /** From the other side. */
  readonly in: Pipe;
  /** This end is cut off: the other one learns of it, if the network lets it. */
  reset(): void;
  /** This end is closed. */
  closed(): void;
}

export class SimSocket implements ByteSocket {
  readonly remoteAddress: string;
  readonly remotePort: number;
  readonly #prng: Prng;
  #wire: Wire | undefined;
  #ears: Ears | undefined;
  #ended = false;
  #paused = false;
  #closed = false;

  constructor(remoteAddress: string, remotePort: number, prng: Prng) {
    this.remoteAddress = remoteAddress;
    this.remotePort = remotePort;
    this.#prng = prng;
  }

  attach(wire: Wire): void {
    this.#wire = wire;
  }

  /** From now on `ears` hear what happens. One that is closed already says so at once. */
  listen(ears: Ears): void {
    if (this.#closed) ears.closed("the connection was terminated");
    else this.#ears = ears;
  }

  get isClosed(): boolean {
    return this.#closed;
  }

  get reading(): boolean {
    return !this.#paused || this.#closed;
  }

  write(bytes: Uint8Array, offset = 0, length = bytes.length - offset): number {
    if (this.#closed || this.#ended || this.#wire === undefined) return -1;
    return this.#wire.out.write(bytes.subarray(offset, offset + length));
  }

  shutdown(): void {
    if (this.#closed || this.#ended) return;
    this.#ended = true;
    this.#wire?.out.send("end");
  }

  terminate(): void {
    if (this.#closed) return;
    this.#wire?.reset();
    this.#close("the connection was terminated");
  }

  pause(): void {
    this.#paused = true;
    this.#wire?.in.advance();
  }

  resume(): void {
    this.#paused = false;
    this.#wire?.in.advance();
  }

  /** Bytes have come, or the end of them. @returns false when nobody is here any more */
  arrived(item: Uint8Array | "end"): boolean {
    if (this.#closed) return false;
    if (item !== "end") {
      this.#ears?.data(item);
      return true;
    }
    if (!this.#ended) this.#wire?.out.send("end");
    this.#close("the relay closed the connection");
    return true;
  }

  room(): void {
    if (!this.#closed && !this.#ended) this.#ears?.drain();
  }

  /**
   * The network, or the other side's reset, has ended it. What had come and was not read yet may be read
   * before that, even if the reader had paused: Bun's sockets do that.
   */
  broken(why: string): void {
    const wire = this.#wire;
    if (this.#closed || wire === undefined) return;
    // What is written from now on, also while that is read, goes nowhere.
    this.#ended = true;
    const unread = this.#prng.chance(0.5) ? wire.in.arrivedUnread() : [];
    wire.in.drop();
    wire.out.drop();
    for (const chunk of unread) if (!this.#closed) this.#ears?.data(chunk);
    this.#close(why);
  }

  /** Its process is no more: nobody is told. */
  abandon(): void {
    this.#ears = undefined;
    this.#closed = true;
    this.#wire?.closed();
  }

  #close(why: string): void {
    if (this.#closed) return;
    this.#closed = true;
    const ears = this.#ears;
    this.#ears = undefined;
    this.#wire?.in.advance();
    this.#wire?.closed();
    ears?.closed(why);
  }
}
