/** How much memory all rings of a relay may take together. */
export class Budget {
  /** Bytes. It may be changed: what has been taken stays. */
  total: number;
  #used = 0;

  constructor(total: number) {
    this.total = total;
  }

  get used(): number {
    return this.#used;
  }

  /** Whether so many bytes are to be had. */
  has(bytes: number): boolean {
    return this.#used + bytes <= this.total;
  }

  /** Takes so many bytes: false, and none taken, where they are not to be had. */
  take(bytes: number): boolean {
    if (!this.has(bytes)) return false;
    this.#used += bytes;
    return true;
  }

  /** Takes them in any case: for what must be held whatever it costs. */
  force(bytes: number): void {
    this.#used += bytes;
  }

  give(bytes: number): void {
    this.#used -= bytes;
  }
}
