/** A room: one log and its readers. */
import type { Clock } from "../../runtime.ts";
import type { Connection } from "../connection/connection.ts";
import type { Log, LogEvents, Logs } from "../log/log.ts";
import type { Ring } from "../log/ring.ts";

/** What a room asks of the relay that holds it. */
export interface RoomHost {
  readonly clock: Clock;
  /** Entries have been committed. */
  committed(): void;
  /** What these members sent is not kept: they must send it again. */
  notKept(senders: readonly Connection[], error: unknown): void;
  /** A client has connected again, to this relay or to another. @returns its old connection here */
  replaced(room: Room, token: string): number | undefined;
  /** The room can't go on as it is: its members must come back, and it be opened again. */
  lost(room: Room, error: unknown): void;
}

export class Room implements LogEvents {
  readonly key: string;
  readonly #host: RoomHost;
  readonly #ring: Ring;
  readonly #members: Connection[] = [];
  #log: Log | undefined;
  #visitors = 0;
  #scheduled = false;
  /** Nothing more comes of it. */
  #over = false;
  /** When the last member left, in milliseconds on the relay's clock. */
  emptySince: number;

  private constructor(key: string, ring: Ring, host: RoomHost) {
    this.key = key;
    this.#ring = ring;
    this.#host = host;
    this.emptySince = host.clock.now();
  }

  /** @throws ProtocolError, or what else the log says that can't be had */
  static async open(key: string, logs: Logs, ring: Ring, host: RoomHost): Promise<Room> {
    const room = new Room(key, ring, host);
    try {
      room.#log = await logs.open(key, ring, room);
      return room;
    } catch (error) {
      ring.close();
      throw error;
    }
  }

  get log(): Log {
    if (this.#log === undefined) throw new Error("a room without its log is shown to nobody");
    return this.#log;
  }

  get over(): boolean {
    return this.#over;
  }

  get size(): number {
    return this.#members.length;
  }

  /** Nobody is in it, or about to be. */
  get empty(): boolean {
    return this.size === 0 && this.#visitors === 0;
  }

  /** Somebody is at the door until `entering` is done: the room is not to be forgotten meanwhile. */
  async visited(entering: Promise<void>): Promise<void> {
    this.#visitors += 1;
    try {
      await entering;
    } finally {
      this.#visitors -= 1;
    }
  }

  get members(): readonly Connection[] {
    return this.#members;
  }

  add(member: Connection): void {
    member.memberIndex = this.#members.length;
    this.#members.push(member);
  }

  remove(member: Connection): void {
    const last = this.#members.pop();
    if (last !== undefined && last !== member) {
      this.#members[member.memberIndex] = last;
      last.memberIndex = member.memberIndex;
    }
    member.memberIndex = -1;
    if (this.size === 0) this.emptySince = this.#host.clock.now();
  }

  /** Appends an entry, which goes on its way when this turn of the event loop ends. @throws ProtocolError */
  append(type: number, from: number, source: Uint8Array, start: number, end: number): void {
    if (this.#over) return;
    this.#log?.append(type, from, source, start, end);
    if (this.#scheduled) return;
    this.#scheduled = true;
    this.#host.clock.soon(this.#flush);
  }

  readonly #flush = () => {
    this.#scheduled = false;
    if (!this.#over) this.log.flush();
  };

  /** Writes to every reader that can take it what it has not read yet. */
  committed(): void {
    this.#host.committed();
    for (let i = this.#members.length - 1; i >= 0; i--) this.#members[i]?.pump();
  }

  refused(connections: ReadonlySet<number>, error: unknown): void {
    this.#host.notKept(
      this.#members.filter((member) => connections.has(member.number)),
      error,
    );
  }

  replaced(token: string): number | undefined {
    return this.#host.replaced(this, token);
  }

  lost(error: unknown): void {
    if (this.#over) return;
    this.#over = true;
    this.#host.lost(this, error);
    this.#ring.close();
  }

  /** Ends the room in memory; what is kept of it stays. */
  async close(): Promise<void> {
    if (this.#over) return;
    this.#flush();
    this.#over = true;
    try {
      await this.log.close();
    } finally {
      this.#ring.close();
    }
  }
}
