/**
 * A token bucket that may run into debt: what has been read is always served, and a client that
 * was too fast is not read again until its debt is paid. Nothing is lost; TCP slows the sender.
 */

/** The bucket holds what this many seconds bring, so that short bursts pass. */
const BURST_SECONDS = 2;

export class TokenBucket {
  readonly #perSecond: number;
  #tokens: number;
  #at: number;

  /** @param perSecond 0 for no limit; @param now milliseconds on a clock that only rises */
  constructor(perSecond: number, now: number) {
    this.#perSecond = perSecond;
    this.#tokens = perSecond * BURST_SECONDS;
    this.#at = now;
  }

  /** Takes `amount` tokens: how long until the bucket is out of debt, in milliseconds. */
  take(amount: number, now: number): number {
    if (this.#perSecond === 0) return 0;
    const earned = ((now - this.#at) / 1000) * this.#perSecond;
    this.#tokens = Math.min(this.#tokens + earned, this.#perSecond * BURST_SECONDS) - amount;
    this.#at = now;
    return this.#tokens >= 0 ? 0 : (-this.#tokens / this.#perSecond) * 1000;
  }
}
