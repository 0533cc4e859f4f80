/** A room: one log and its readers. */
import type { Connection } from "./connection.ts";
import { Ring } from "./ring.ts";

export class Room {
  readonly key: string;
  /** Random, 16 bytes: tells a client whether its last sequence number belongs to this log. */
  readonly logId: Uint8Array;
  readonly ring: Ring;
  readonly #members: Connection[] = [];
  readonly #schedule: (room: Room) => void;
  /** Head of the log when its readers were last served. */
  #served = 0;
  #scheduled = false;
  /** When the last member left, in milliseconds on the relay's clock. */
  emptySince = 0;

  /** @param schedule called once when entries wait for `flush` */
  constructor(key: string, ringBytes: number, schedule: (room: Room) => void) {
    this.key = key;
    this.logId = crypto.getRandomValues(new Uint8Array(16));
    this.ring = new Ring(ringBytes);
    this.#schedule = schedule;
  }

  get size(): number {
    return this.#members.length;
  }

  add(member: Connection): void {
    member.memberIndex = this.#members.length;
    this.#members.push(member);
  }

  remove(member: Connection): void {
    const last = this.#members.pop();
    if (last === undefined || last === member) return;
    this.#members[member.memberIndex] = last;
    last.memberIndex = member.memberIndex;
  }

  /** Appends an entry; readers are served when this turn of the event loop ends. */
  append(type: number, from: number, source: Uint8Array, start: number, end: number): void {
    const ring = this.ring;
    // A burst must not overtake readers that would have taken it: serve them half a ring early.
    if (ring.head - this.#served > ring.capacity / 2) this.flush();
    ring.append(type, from, source, start, end);
    if (!this.#scheduled) {
      this.#scheduled = true;
      this.#schedule(this);
    }
  }

  /** Writes to every reader that can take it what it has not read yet. */
  flush(): void {
    this.#scheduled = false;
    this.#served = this.ring.head;
    for (let i = this.#members.length - 1; i >= 0; i--) {
      this.#members[i]?.pump();
    }
  }
}
