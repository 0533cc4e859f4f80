/**
 * Follows a room's subject, and goes on doing so: one following that ends or falls silent is replaced by
 * another, from where the log is.
 */
import { pause, type Runtime } from "../../../runtime.ts";
import type { Following, Message, Stream } from "./stream.ts";

/** For how long there may be no following while the link is up, in milliseconds. */
const STALL_MS = 10_000;
const RETRY_MS = 250;
/** Messages that are asked for one by one, so that it goes on even if every following is slow. */
const CATCH_UP = 64;

export interface FollowerHost {
  /** Number of the last message that was read. */
  seen(): number;
  /** Takes a message; one that was read before does nothing. */
  read(message: Message): void;
  /** There is no following any more. */
  lost(error: unknown): void;
}

export class Follower {
  readonly #stream: Stream;
  readonly #key: string;
  readonly #runtime: Runtime;
  readonly #host: FollowerHost;
  #following: Following | undefined;
  /** Rises when an earlier following must not be listened to any more. */
  #turn = 0;
  #trying = false;
  #stopped = false;
  #told = 0;

  constructor(stream: Stream, key: string, runtime: Runtime, host: FollowerHost) {
    this.#stream = stream;
    this.#key = key;
    this.#runtime = runtime;
    this.#host = host;
  }

  /** How many messages have been told: who looks twice knows whether it is silent. */
  get told(): number {
    return this.#told;
  }

  /** @throws what the stream throws */
  async begin(): Promise<void> {
    this.#turn += 1;
    const turn = this.#turn;
    const following = await this.#stream.follow(this.#key, this.#host.seen() + 1, {
      message: (message) => {
        if (turn !== this.#turn) return;
        this.#told += 1;
        this.#host.read(message);
      },
      ended: (why) => {
        if (turn === this.#turn) this.again(why);
      },
    });
    // It may have ended before it began, or nobody needs it now.
    if (turn === this.#turn) this.#following = following;
    else following.stop();
  }

  /** Follows anew: the present following has ended, or is of no use. */
  again(why: unknown): void {
    this.#leave();
    if (!this.#trying && !this.#stopped) void this.#try(why);
  }

  async #try(why: unknown): Promise<void> {
    const { clock } = this.#runtime;
    this.#trying = true;
    let since = clock.now();
    let error = why;
    while (!this.#stopped && this.#following === undefined) {
      try {
        await this.#catchUp();
        if (!this.#stopped) await this.begin();
        if (this.#following !== undefined) break;
      } catch (problem) {
        error = problem;
      }
      // Without a link nothing can be expected; readers wait for it.
      if (!this.#stream.connected) since = clock.now();
      if (clock.now() - since >= STALL_MS) {
        this.stop();
        this.#host.lost(error);
        break;
      }
      await pause(clock, RETRY_MS);
    }
    this.#trying = false;
  }

  async #catchUp(): Promise<void> {
    for (let i = 0; i < CATCH_UP && !this.#stopped; i++) {
      const message = await this.#stream.from(this.#key, this.#host.seen() + 1);
      if (message === undefined || this.#stopped) return;
      this.#host.read(message);
    }
  }

  #leave(): void {
    this.#turn += 1;
    this.#following?.stop();
    this.#following = undefined;
  }

  stop(): void {
    this.#stopped = true;
    this.#leave();
  }
}
