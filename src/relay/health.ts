/** Whether the relay does what it is there for, as /healthz says it. */

/**
 * For how long after a failure the relay is called unhealthy, in milliseconds. What goes on failing is met
 * again sooner than that by who has something to say; a relay that nobody uses must not stay unhealthy.
 */
const TROUBLE_MS = 60_000;

export class Health {
  #failedAt = Number.NEGATIVE_INFINITY;
  /** Why new clients can't come in, where they can't. */
  listening: string | undefined;

  /** What keeps the rooms has failed. */
  failed(now: number): void {
    this.#failedAt = now;
  }

  /** What is wrong, or undefined. */
  trouble(now: number): string | undefined {
    if (this.listening !== undefined) return this.listening;
    if (now - this.#failedAt >= TROUBLE_MS) return undefined;
    return "storage failed within the last minute; see the log";
  }
}
