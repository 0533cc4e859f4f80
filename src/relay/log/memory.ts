/** A log in memory only: what is appended is committed, and ends with the room. */
import { ENTRY_HEADER_BYTES } from "../../protocol/entry.ts";
import { LOG_ID_BYTES } from "../../protocol/messages.ts";
import type { Runtime } from "../../runtime.ts";
import type { Log, LogEvents, Logs } from "./log.ts";
import type { Ring } from "./ring.ts";
import type { Run } from "./run.ts";

export class MemoryLog implements Log {
  readonly id: Uint8Array;
  readonly ring: Ring;
  readonly congested = false;
  readonly #events: LogEvents;
  /** Head of the ring when the readers were served last. */
  #shown = 0;

  constructor(id: Uint8Array, ring: Ring, events: LogEvents) {
    this.id = id;
    this.ring = ring;
    this.#events = events;
  }

  get oldest(): number {
    return this.ring.oldest;
  }

  append(type: number, from: number, source: Uint8Array, start: number, end: number): void {
    const ring = this.ring;
    // A burst must not overtake readers that would have taken it: serve them half a ring early.
    const unshown = ring.head - this.#shown;
    if (unshown > 0 && unshown + ENTRY_HEADER_BYTES + end - start > ring.capacity / 2) this.flush();
    ring.append(type, from, source, start, end);
  }

  flush(): void {
    if (this.#shown === this.ring.head) return;
    this.#shown = this.ring.head;
    this.#events.committed();
  }

  async fence(): Promise<void> {
    // What came is in the ring, and the old connection is not read any more.
  }

  async page(): Promise<Run | undefined> {
    return undefined;
  }

  async expire(): Promise<void> {
    // The ring's size is the only limit.
  }

  async close(): Promise<void> {
    // The ring is its room's.
  }
}

export class MemoryLogs implements Logs {
  readonly kept = 0;
  readonly trouble = undefined;
  readonly #runtime: Runtime;

  constructor(runtime: Runtime) {
    this.#runtime = runtime;
  }

  async open(_key: string, ring: Ring, events: LogEvents): Promise<Log> {
    return new MemoryLog(this.#runtime.random(new Uint8Array(LOG_ID_BYTES)), ring, events);
  }

  async expire(): Promise<void> {
    // Nothing is kept of rooms that are not open.
  }

  async close(): Promise<void> {
    // Nothing is held.
  }
}
