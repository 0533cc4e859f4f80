/**
 * A client's socket as its relay writes to it. Besides slices of the log a connection has a little of
 * its own to say (WELCOME, PONG, MISSED, ...), and it may stand in the middle of an entry when its
 * socket is full: that entry's rest is copied at once, so that the ring may overwrite it. Both lie in
 * `#own`, which goes out first.
 */
import type { ByteSocket } from "../../transport.ts";
import type { Counters } from "../metrics.ts";

export class Outlet {
  readonly #socket: ByteSocket;
  readonly #counters: Counters;
  #own: Uint8Array | undefined;
  /** The socket took less than it was given: wait for its drain. */
  #full = false;

  constructor(socket: ByteSocket, counters: Counters) {
    this.#socket = socket;
    this.#counters = counters;
  }

  get full(): boolean {
    return this.#full;
  }

  /** Bytes that wait besides the log. */
  get waiting(): number {
    return this.#own?.length ?? 0;
  }

  /** The socket has room again. */
  drained(): void {
    this.#full = false;
  }

  /** Writes what waits: true when all of it is out and the socket takes more. */
  flush(): boolean {
    const own = this.#own;
    if (own === undefined || this.#full) return !this.#full;
    const taken = this.write(own, 0, own.length);
    if (taken < 0) return false;
    this.#own = taken < own.length ? own.slice(taken) : undefined;
    return !this.#full;
  }

  /** Says a frame of the connection's own: after the entry that has begun, before any other. */
  say(frame: Uint8Array): void {
    const own = this.#own;
    this.#own = own === undefined ? frame : Buffer.concat([own, frame]);
    this.flush();
  }

  /** Writes a slice; only when nothing waits. @returns bytes taken, negative when the socket is gone */
  write(bytes: Uint8Array, at: number, length: number): number {
    const taken = this.#socket.write(bytes, at, length);
    if (taken < 0) return taken;
    this.#counters.bytesOut += taken;
    this.#full = taken < length;
    return taken;
  }

  /** The rest of an entry whose beginning the socket took. */
  keepRest(rest: Uint8Array): void {
    this.#own = rest;
  }

  /** The socket is closed: nothing waits any more. */
  close(): void {
    this.#own = undefined;
    this.#full = true;
  }
}
