/** A clock that a test moves, and randomness that is the same in every run. */
import type { Alarm, Clock, Runtime } from "../../src/runtime.ts";

interface Due {
  readonly at: number;
  readonly order: number;
  readonly action: () => void;
}

/** Lets all that needs no clock happen. */
const settle = () => new Promise<void>((resolve) => void setImmediate(resolve));

export class ManualClock implements Clock {
  #now = 0;
  #order = 0;
  readonly #due = new Set<Due>();

  now(): number {
    return this.#now;
  }

  date(): number {
    return 1_700_000_000_000 + this.#now;
  }

  after(milliseconds: number, action: () => void): Alarm {
    this.#order += 1;
    const due = { at: this.#now + Math.max(0, milliseconds), order: this.#order, action };
    this.#due.add(due);
    return { cancel: () => void this.#due.delete(due) };
  }

  every(milliseconds: number, action: () => void): Alarm {
    let alarm: Alarm;
    const again = () => {
      alarm = this.after(milliseconds, again);
      action();
    };
    alarm = this.after(milliseconds, again);
    return { cancel: () => alarm.cancel() };
  }

  soon(action: () => void): void {
    this.after(0, action);
  }

  /** Alarms that are set. */
  get alarms(): number {
    return this.#due.size;
  }

  /** Moves the clock, and has happen what falls due, in order. */
  async advance(milliseconds: number): Promise<void> {
    const end = this.#now + milliseconds;
    for (;;) {
      await settle();
      let first: Due | undefined;
      for (const due of this.#due) {
        if (due.at > end) continue;
        if (first === undefined || due.at < first.at) first = due;
        else if (due.at === first.at && due.order < first.order) first = due;
      }
      if (first === undefined) break;
      this.#due.delete(first);
      this.#now = first.at;
      first.action();
    }
    this.#now = end;
  }

  /** Moves the clock until a promise is settled, an hour at most. */
  async run<T>(promise: Promise<T>): Promise<T> {
    let settled = false;
    const done = promise.finally(() => {
      settled = true;
    });
    done.catch(() => undefined);
    for (const end = this.#now + 3_600_000; !settled && this.#now < end; ) await this.advance(10);
    if (!settled) throw new Error("nothing came of it");
    return await done;
  }
}

export function manualRuntime(clock: Clock, seed = 1): Runtime {
  let state = seed;
  return {
    clock,
    random(bytes) {
      for (let i = 0; i < bytes.length; i++) {
        state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
        bytes[i] = state >>> 24;
      }
      return bytes;
    },
  };
}
