/** Whether the relay does what it is there for, as /healthz says it: the truth, until it is another. */

/** For how long after something has failed the relay is called unhealthy, in milliseconds. */
const TROUBLE_MS = 60_000;

export class Health {
  #failedAt = Number.NEGATIVE_INFINITY;
  #recovered = true;
  /** Why new clients can't come in, where they can't. */
  listening: string | undefined;

  /** What keeps the rooms has failed. */
  failed(now: number): void {
    this.#failedAt = now;
    this.#recovered = false;
  }

  /** It has kept something. */
  worked(): void {
    this.#recovered = true;
  }

  /** What is wrong, or undefined. A failure is over when a minute has passed and something was kept. */
  trouble(now: number): string | undefined {
    if (this.listening !== undefined) return this.listening;
    if (now - this.#failedAt < TROUBLE_MS) {
      return "storage failed within the last minute; see the log";
    }
    if (!this.#recovered) return "storage failed, and nothing has been kept since; see the log";
    return undefined;
  }
}
