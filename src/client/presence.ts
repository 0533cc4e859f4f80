/**
 * When to say "I am here". Whoever joins wants to know who is there; so that a hundred answers to a
 * hundred joins do not become ten thousand entries, an answer waits a random while, longer in a
 * larger room, and serves everyone who joined meanwhile.
 */

import { type Alarm, fraction, type Runtime } from "../runtime.ts";

const BASE_MS = 100;
const PER_MEMBER_MS = 20;
const MAX_SPREAD_MS = 5000;
/** At most one answer in this time, in milliseconds. */
const QUIET_MS = 2000;

export class Presence {
  readonly #runtime: Runtime;
  readonly #announce: () => void;
  #timer: Alarm | undefined;
  #lastAt = Number.NEGATIVE_INFINITY;

  constructor(runtime: Runtime, announce: () => void) {
    this.#runtime = runtime;
    this.#announce = announce;
  }

  /** Somebody joined a room of `members` members. */
  askedFor(members: number): void {
    if (this.#timer !== undefined) return;
    const spread = Math.min(MAX_SPREAD_MS, BASE_MS + PER_MEMBER_MS * members);
    const { clock } = this.#runtime;
    const quiet = Math.max(0, this.#lastAt + QUIET_MS - clock.now());
    this.#timer = clock.after(quiet + fraction(this.#runtime) * spread, () => {
      this.#timer = undefined;
      this.#lastAt = clock.now();
      this.#announce();
    });
  }

  cancel(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
  }
}
