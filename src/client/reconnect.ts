/**
 * When to try again after a connection has ended, when to give up, and what of it is news.
 *
 * A connection that is made proves little: a relay whose disk is full welcomes everybody and closes
 * again. So pauses grow, and what was said is not said again, until something of ours was accepted.
 */
import { type Alarm, fraction, type Runtime } from "../runtime.ts";

const FIRST_RETRY_MS = 300;
const LAST_RETRY_MS = 15_000;
/** A connection that has lasted so long is good though nothing was sent over it, in milliseconds. */
const STEADY_MS = 10_000;
/** Reasons remembered as said: a relay can make up any number. */
const MAX_SAID = 16;
/** How often it is looked whether patience has ended, in milliseconds. */
const TICK_MS = 500;
/** The attempt that is made when patience ends has so long to say why it fails, in milliseconds. */
const LAST_WORD_MS = 1000;

/** What to do after a connection that failed or has ended. */
export type Next =
  /** `news`: this reason has not been given since something was accepted last. */
  | { readonly kind: "retry"; readonly afterMs: number; readonly news: boolean }
  /** `welcomed`: there were connections, and nothing was accepted over them. */
  | { readonly kind: "give-up"; readonly welcomed: boolean };

export interface ReconnectOptions {
  readonly runtime: Runtime;
  /** How long to go on without a connection that accepts what waits, in milliseconds. */
  readonly patienceMs: number;
  /** True while something waits to be accepted. */
  readonly waiting: () => boolean;
  /** Something was accepted over this connection, for the first time, or it has lasted. */
  readonly onGood: () => void;
  /**
   * Patience has ended while a connection, or an attempt to have one, goes on: nothing comes of it.
   * `welcomed` is as in Next.
   */
  readonly onImpatient: (welcomed: boolean) => void;
}

export class Reconnect {
  readonly #options: ReconnectOptions;
  readonly #said = new Set<string>();
  #connected = false;
  /** Whether this connection has been found good. */
  #good = false;
  /** Whether there was a welcome since something was accepted last. */
  #welcomed = false;
  #attempt = 0;
  /** When all was well last: something was accepted, or there was a connection and nothing to send. */
  #wellAt: number;
  #steady: Alarm | undefined;
  #ticker: Alarm | undefined;

  constructor(options: ReconnectOptions) {
    this.#options = options;
    this.#wellAt = options.runtime.clock.now();
    if (options.patienceMs === Number.POSITIVE_INFINITY) return;
    this.#ticker = options.runtime.clock.every(TICK_MS, () => this.#checkPatience());
  }

  #checkPatience(): void {
    const { patienceMs, waiting, onImpatient } = this.#options;
    if (this.#connected && !waiting()) return;
    if (this.#now() - this.#wellAt > patienceMs + LAST_WORD_MS) onImpatient(this.#welcomed);
  }

  /** Tries since something was accepted last, the present one among them. */
  get attempt(): number {
    return this.#attempt;
  }

  /** A try begins. */
  trying(): void {
    this.#attempt += 1;
  }

  /** The relay has let us in. @returns true when that has not been told since something was accepted */
  welcomed(): boolean {
    const news = !this.#welcomed;
    this.#connected = true;
    this.#good = false;
    this.#welcomed = true;
    this.#steady = this.#options.runtime.clock.after(STEADY_MS, () => {
      if (!this.#options.waiting()) this.accepted();
    });
    return news;
  }

  /** Something is about to wait: until now, with a connection, all was well. */
  handedIn(): void {
    if (this.#connected && !this.#options.waiting()) this.#wellAt = this.#now();
  }

  /** Something of ours has come back in the log. */
  accepted(): void {
    this.#wellAt = this.#now();
    if (this.#good) return;
    this.#good = true;
    this.#welcomed = false;
    this.#attempt = 0;
    this.#said.clear();
    this.#options.onGood();
  }

  /** The connection is over, or did not come about, because of `why`. */
  down(why: string): Next {
    const { runtime, patienceMs, waiting } = this.#options;
    const now = this.#now();
    if (this.#connected && !waiting()) this.#wellAt = now;
    this.#connected = false;
    this.#steady?.cancel();
    const left = this.#wellAt + patienceMs - now;
    if (left <= 0) return { kind: "give-up", welcomed: this.#welcomed };
    const pause = Math.min(LAST_RETRY_MS, FIRST_RETRY_MS * 2 ** Math.max(0, this.#attempt - 1));
    const jittered = Math.round(Math.min(LAST_RETRY_MS, pause * (0.75 + fraction(runtime) / 2)));
    // The last try is when patience ends.
    return { kind: "retry", afterMs: Math.min(jittered, left), news: this.#isNews(why) };
  }

  #isNews(why: string): boolean {
    if (this.#said.has(why)) return false;
    if (this.#said.size >= MAX_SAID) this.#said.clear();
    this.#said.add(why);
    return true;
  }

  /** There will be no more tries. */
  cancel(): void {
    this.#steady?.cancel();
    this.#ticker?.cancel();
  }

  #now(): number {
    return this.#options.runtime.clock.now();
  }
}
