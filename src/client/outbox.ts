/** Messages on their way: each stays here until its own entry has come back in the room's log. */
import type { Kind } from "../protocol/payload.ts";

export interface Outgoing {
  readonly number: number;
  readonly kind: Kind;
  readonly nick: string;
  readonly text: string;
  /** The sender's clock when it was written, in milliseconds since 1970. */
  readonly time: number;
}

export class Outbox {
  readonly #waiting: Outgoing[] = [];
  #lastNumber = 0;
  /** How many of the waiting have been sent on this connection. */
  #sent = 0;

  /** Messages that have not been acknowledged. */
  get size(): number {
    return this.#waiting.length;
  }

  get waiting(): readonly Outgoing[] {
    return this.#waiting;
  }

  add(message: Omit<Outgoing, "number">): Outgoing {
    this.#lastNumber += 1;
    const outgoing = { ...message, number: this.#lastNumber };
    this.#waiting.push(outgoing);
    return outgoing;
  }

  /** The next message to send on this connection, oldest first. */
  next(): Outgoing | undefined {
    const outgoing = this.#waiting[this.#sent];
    if (outgoing !== undefined) this.#sent += 1;
    return outgoing;
  }

  /** The connection is new, or the log had a gap: what is not acknowledged goes out again. */
  rewind(): void {
    this.#sent = 0;
  }

  /** Gives up a message that can't be sent. */
  drop(number: number): void {
    const index = this.#waiting.findIndex((outgoing) => outgoing.number === number);
    if (index < 0) return;
    this.#waiting.splice(index, 1);
    if (index < this.#sent) this.#sent -= 1;
  }

  /** Own message `number` was seen in the log; those before it are in it too. */
  acknowledge(number: number): readonly Outgoing[] {
    let count = 0;
    while (count < this.#waiting.length && (this.#waiting[count]?.number ?? 0) <= number) count++;
    this.#sent = Math.max(0, this.#sent - count);
    return this.#waiting.splice(0, count);
  }
}
