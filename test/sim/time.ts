/**
 * Simulated time: events in the order of their time, those at one time in an order drawn from the seed.
 *
 * After each event everything that waits for a promise runs, as it does between two turns of a real event
 * loop; so one seed gives one run.
 */
import { drainMicrotasks } from "bun:jsc";
import type { Alarm } from "../../src/runtime.ts";
import { Heap } from "./heap.ts";
import type { Prng } from "./prng.ts";
import { SimProcess } from "./process.ts";

interface Event {
  /** When, in milliseconds. */
  readonly at: number;
  /** At one time, those of a lower rank come first: what is to be done `soon` is of the next one. */
  readonly rank: number;
  /** In one rank a draw decides, */
  readonly tie: number;
  /** and between two of one draw, which was there first. */
  readonly order: number;
  action: (() => void) | undefined;
}

function before(a: Event, b: Event): boolean {
  if (a.at !== b.at) return a.at < b.at;
  if (a.rank !== b.rank) return a.rank < b.rank;
  return a.tie !== b.tie ? a.tie < b.tie : a.order < b.order;
}

/** Events at one time after which time is said to stand still. */
const STANDSTILL = 1_000_000;

/** What one process has coming at one time and rank keeps its order: timers of a real loop do. */
export class Ties {
  readonly #prng: Prng;
  #last = { at: -1, rank: -1, tie: 0 };

  constructor(prng: Prng) {
    this.#prng = prng;
  }

  draw(at: number, rank: number): number {
    if (this.#last.at !== at || this.#last.rank !== rank) {
      this.#last = { at, rank, tie: this.#prng.fraction() };
    }
    return this.#last.tie;
  }
}

export class Scheduler {
  readonly #prng: Prng;
  readonly #ties: Prng;
  readonly #events = new Heap<Event>(before);
  #now = 0;
  #rank = 0;
  #order = 0;
  #atOnce = 0;
  #steps = 0;

  constructor(prng: Prng) {
    this.#prng = prng;
    this.#ties = prng.fork("ties");
  }

  /** Milliseconds since the simulation began. */
  now(): number {
    return this.#now;
  }

  /** Events that have happened. */
  get steps(): number {
    return this.#steps;
  }

  /** A process with a clock and randomness of its own, both drawn from the seed and its name. */
  process(name: string): SimProcess {
    return new SimProcess(this, this.#prng.fork(`process ${name}`), name);
  }

  /**
   * Calls `action` at `time`, or now if that is past: the world's doing, at a place among what is due
   * then that the seed decides.
   */
  at(time: number, action: () => void): Alarm {
    const at = Math.max(time, this.#now);
    return this.#add(at, this.#rankAt(at), this.#ties.fraction(), action);
  }

  /** A process's timer: those of one process that are due together keep their order. */
  timer(time: number, ties: Ties, action: () => void): Alarm {
    const at = Math.max(time, this.#now);
    const rank = this.#rankAt(at);
    return this.#add(at, rank, ties.draw(at, rank), action);
  }

  /** Now, and after all that is due now already. */
  soon(ties: Ties, action: () => void): Alarm {
    const rank = this.#rank + 1;
    return this.#add(this.#now, rank, ties.draw(this.#now, rank), action);
  }

  #rankAt(at: number): number {
    return at === this.#now ? this.#rank : 0;
  }

  #add(at: number, rank: number, tie: number, action: () => void): Alarm {
    if (Number.isNaN(at)) throw new Error("an event at no time");
    this.#order += 1;
    const event: Event = { at, rank, tie, order: this.#order, action };
    this.#events.push(event);
    return {
      cancel: () => {
        event.action = undefined;
      },
    };
  }

  /**
   * Lets one event happen, and all that comes of it without waiting.
   * @returns false when there is none
   * @throws what the event throws; Error when time stands still
   */
  step(): boolean {
    for (;;) {
      const event = this.#events.pop();
      if (event === undefined) return false;
      const { action } = event;
      if (action === undefined) continue;
      this.#atOnce = event.at === this.#now ? this.#atOnce + 1 : 0;
      if (this.#atOnce > STANDSTILL) throw new Error(`time stands still at ${this.#now} ms`);
      this.#now = event.at;
      this.#rank = event.rank;
      this.#steps += 1;
      event.action = undefined;
      action();
      drainMicrotasks();
      return true;
    }
  }

  /** Lets everything happen that is due within `milliseconds`, and that time pass. */
  run(milliseconds: number): void {
    const end = this.#now + milliseconds;
    this.runUntil(() => false, end - this.#now);
    if (this.#now < end) {
      this.#now = end;
      this.#rank = 0;
    }
  }

  /**
   * Lets things happen until `condition` is true, which is looked at after each event.
   * @returns false when it is not within `milliseconds`
   */
  runUntil(condition: () => boolean, milliseconds: number): boolean {
    const end = this.#now + milliseconds;
    drainMicrotasks();
    while (!condition()) {
      const next = this.#next();
      if (next === undefined || next > end) return false;
      this.step();
    }
    return true;
  }

  /** When the next event is due. */
  #next(): number | undefined {
    for (;;) {
      const event = this.#events.peek();
      if (event === undefined) return undefined;
      if (event.action !== undefined) return event.at;
      this.#events.pop();
    }
  }
}
