/**
 * Where in the stream entries are. A border is a fact that stays true whatever expires: entries before
 * number N are in messages before number S of the stream, entries from N on in messages from S on.
 */
const MAX_BORDERS = 256;

export class Borders {
  /** S by N. */
  readonly #known = new Map<number, number>();

  /** @param entry N @param message S */
  add(entry: number, message: number): void {
    // Messages without entries may lie between the same two entries; any of those borders will do.
    this.#known.delete(entry);
    this.#known.set(entry, message);
    if (this.#known.size <= MAX_BORDERS) return;
    for (const oldest of this.#known.keys()) {
      this.#known.delete(oldest);
      return;
    }
  }

  /**
   * Between which messages to look for the first one that holds entry `entry`, or a later one: not
   * before `low`, and not behind `high`, if it is there.
   * @param begin the message to begin with where nothing is known; and `last` the one to end with
   */
  around(entry: number, begin: number, last: number): { low: number; high: number } {
    let [low, high] = [begin, last];
    for (const [n, s] of this.#known) {
      if (n <= entry) low = Math.max(low, s);
      else high = Math.min(high, s);
    }
    // From the border itself on there is nothing to search.
    return { low, high: this.#known.has(entry) ? low : high };
  }
}
