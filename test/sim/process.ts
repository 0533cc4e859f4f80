/** A simulated process: the runtime that a program is handed, until the process is killed. */
import type { Alarm, Clock, Runtime } from "../../src/runtime.ts";
import type { Prng } from "./prng.ts";
import { type Scheduler, Ties } from "./time.ts";

/** The machines' clocks stand here when a simulation begins, in milliseconds since 1970. */
export const BEGINNING = Date.UTC(2030, 0, 1);

const NEVER: Alarm = { cancel: () => undefined };

export class SimProcess implements Runtime {
  readonly name: string;
  readonly clock: Clock;
  readonly #prng: Prng;
  readonly #ends: (() => void)[] = [];
  #alive = true;
  /** What the machine's calendar is off by, in milliseconds. */
  #offset = 0;

  constructor(scheduler: Scheduler, prng: Prng, name: string) {
    this.name = name;
    this.#prng = prng;
    const ties = new Ties(prng.fork("ties"));
    /** No process's clock begins at 0, or where another's does. */
    const beginning = prng.range(0, 1e9);
    const inLife = (action: () => void) => () => {
      if (this.#alive) action();
    };
    const after = (milliseconds: number, action: () => void) => {
      if (!this.#alive) return NEVER;
      return scheduler.timer(scheduler.now() + Math.max(0, milliseconds), ties, inLife(action));
    };
    this.clock = {
      now: () => beginning + scheduler.now(),
      date: () => Math.floor(BEGINNING + this.#offset + scheduler.now()),
      after,
      every: (milliseconds, action) => {
        const again = () => {
          next = after(Math.max(1, milliseconds), again);
          action();
        };
        let next = after(Math.max(1, milliseconds), again);
        return { cancel: () => next.cancel() };
      },
      soon: (action) => {
        if (this.#alive) scheduler.soon(ties, inLife(action));
      },
    };
  }

  get alive(): boolean {
    return this.#alive;
  }

  readonly random = (bytes: Uint8Array): Uint8Array => this.#prng.bytes(bytes);

  /** Somebody sets the machine's clock so much forth (or, if less than 0, back), in milliseconds. */
  setClock(by: number): void {
    this.#offset += by;
  }

  /** `action` is called when the process is killed, or at once if it has been. */
  onEnd(action: () => void): void {
    if (this.#alive) this.#ends.push(action);
    else action();
  }

  /** Ends it at once: none of its alarms goes off any more, and it hears of nothing. */
  kill(): void {
    if (!this.#alive) return;
    this.#alive = false;
    for (const end of this.#ends.splice(0)) end();
  }
}
