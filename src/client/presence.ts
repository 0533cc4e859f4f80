/**
 * When to say "I am here". Whoever joins wants to know who is there; so that a hundred answers to a
 * hundred joins do not become ten thousand entries, an answer waits a random while, longer in a
 * larger room, and serves everyone who joined meanwhile.
 */

const BASE_MS = 100;
const PER_MEMBER_MS = 20;
const MAX_SPREAD_MS = 5000;
/** At most one answer in this time, in milliseconds. */
const QUIET_MS = 2000;

export class Presence {
  readonly #announce: () => void;
  #timer: Timer | undefined;
  #lastAt = Number.NEGATIVE_INFINITY;

  constructor(announce: () => void) {
    this.#announce = announce;
  }

  /** Somebody joined a room of `members` members. */
  askedFor(members: number): void {
    if (this.#timer !== undefined) return;
    const spread = Math.min(MAX_SPREAD_MS, BASE_MS + PER_MEMBER_MS * members);
    const quiet = Math.max(0, this.#lastAt + QUIET_MS - performance.now());
    this.#timer = setTimeout(
      () => {
        this.#timer = undefined;
        this.#lastAt = performance.now();
        this.#announce();
      },
      quiet + Math.random() * spread,
    );
  }

  cancel(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }
}
