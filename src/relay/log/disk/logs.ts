/** The logs of a relay that keeps its rooms in a folder. */
import type { Runtime } from "../../../runtime.ts";
import type { Budget } from "../budget.ts";
import type { Log, LogEvents, Logs } from "../log.ts";
import type { Ring } from "../ring.ts";
import { DiskLog } from "./log.ts";
import type { Store } from "./store.ts";

export class DiskLogs implements Logs {
  readonly trouble = undefined;
  readonly #store: Store;
  readonly #budget: Budget;
  readonly #runtime: Runtime;
  readonly #startedAt: number;

  constructor(store: Store, budget: Budget, runtime: Runtime) {
    this.#store = store;
    this.#budget = budget;
    this.#runtime = runtime;
    this.#startedAt = runtime.clock.date() - runtime.clock.now();
  }

  /** Moves on with the machine's uptime: a clock that is set must not make entries old. */
  readonly #time = () => this.#startedAt + this.#runtime.clock.now();

  get kept(): number {
    return this.#store.rooms;
  }

  open(key: string, ring: Ring, events: LogEvents): Promise<Log> {
    const [store, budget, runtime] = [this.#store, this.#budget, this.#runtime];
    return DiskLog.open({ store, key, ring, budget, runtime, events, time: this.#time });
  }

  async expire(): Promise<void> {
    const store = this.#store;
    // A few at a time, for as long as there are some.
    for (let before = Number.POSITIVE_INFINITY; store.rooms < before; ) {
      before = store.rooms;
      await store.expire(this.#time());
    }
  }

  close(): Promise<void> {
    return this.#store.close();
  }
}
