/**
 * How fast a client is read: by its rates, and as its room takes it. Nothing is lost by reading later;
 * TCP slows the sender.
 */
import type { Alarm, Clock } from "../../runtime.ts";
import type { ByteSocket } from "../../transport.ts";
import type { Limits } from "../limits.ts";
import { TokenBucket } from "../rate.ts";

/** How long a client is not read when its room takes no more, in milliseconds. */
const CONGESTED_MS = 5;

export class Throttle {
  readonly #socket: ByteSocket;
  readonly #clock: Clock;
  readonly #messages: TokenBucket;
  readonly #bytes: TokenBucket;
  #alarm: Alarm | undefined;
  #slowed = false;

  constructor(socket: ByteSocket, clock: Clock, limits: Limits) {
    this.#socket = socket;
    this.#clock = clock;
    this.#messages = new TokenBucket(limits.rate, clock.now());
    this.#bytes = new TokenBucket(limits.byteRate, clock.now());
  }

  /** The client is not being read: that it says nothing is not its fault. */
  get paused(): boolean {
    return this.#alarm !== undefined;
  }

  /**
   * So much has been read of the client: reads it later if that was too much.
   * @param congested whether its room takes no more just now
   * @returns true when it was faster than it may be for the first time
   */
  took(messages: number, bytes: number, now: number, congested: () => boolean): boolean {
    const wait = Math.max(this.#messages.take(messages, now), this.#bytes.take(bytes, now));
    if (wait > 0) this.#readLater(wait, congested);
    else if (congested()) this.#readLater(CONGESTED_MS, congested);
    const first = wait > 0 && !this.#slowed;
    if (first) this.#slowed = true;
    return first;
  }

  #readLater(wait: number, congested: () => boolean): void {
    if (this.#alarm !== undefined) return;
    this.#socket.pause();
    this.#alarm = this.#clock.after(wait, () => {
      this.#alarm = undefined;
      if (congested()) this.#readLater(CONGESTED_MS, congested);
      else this.#socket.resume();
    });
  }

  close(): void {
    this.#alarm?.cancel();
    this.#alarm = undefined;
  }
}
