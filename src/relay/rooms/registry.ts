/** The rooms of a relay: found or opened, forgotten when nobody is in them, never more than so many. */
import { ProtocolError } from "../../protocol/errors.ts";
import type { Limits } from "../limits.ts";
import type { Budget } from "../log/budget.ts";
import type { Logs } from "../log/log.ts";
import { Ring } from "../log/ring.ts";
import { Room, type RoomHost } from "./room.ts";

/** Part of the rings' memory that may be in use before empty rooms are forgotten for it. */
const CROWDED = 3 / 4;
/** Rooms that are forgotten for it in one sweep. */
const AT_ONCE = 8;

/** What the rooms, and the registry of them, ask of the relay. */
export interface RegistryHost extends RoomHost {
  readonly limits: Limits;
  /** Says in the relay's log what went wrong with what keeps the rooms. */
  problem(error: unknown): void;
}

export class Registry {
  readonly #logs: Logs;
  readonly #budget: Budget;
  readonly #host: RegistryHost;
  readonly #rooms = new Map<string, Room>();
  /** Rooms that are being opened: they count, and whoever asks for one waits for the same. */
  readonly #coming = new Map<string, Promise<Room>>();
  /** Rooms that are being closed: they are opened again only when that is done. */
  readonly #going = new Map<string, Promise<void>>();
  #closed = false;

  constructor(logs: Logs, budget: Budget, host: RegistryHost) {
    this.#logs = logs;
    this.#budget = budget;
    this.#host = host;
  }

  /** Rooms in memory, those that are being opened among them. */
  get size(): number {
    return this.#rooms.size + this.#coming.size;
  }

  /** Finds or opens a room. @throws ProtocolError "rooms-full", or what the log says */
  find(key: string): Promise<Room> {
    const room = this.#rooms.get(key);
    if (room !== undefined) return Promise.resolve(room);
    const coming = this.#coming.get(key);
    if (coming !== undefined) return coming;
    const { maxRooms } = this.#host.limits;
    if (this.size >= maxRooms && !this.#forgetEmptiest()) {
      const why = `this relay's ${maxRooms} rooms are in use; try again later`;
      return Promise.reject(new ProtocolError("rooms-full", why));
    }
    const opening = this.#open(key).finally(() => this.#coming.delete(key));
    this.#coming.set(key, opening);
    return opening;
  }

  async #open(key: string): Promise<Room> {
    await this.#going.get(key);
    const ring = new Ring(this.#host.limits.ringBytes, this.#budget);
    const room = await Room.open(key, this.#logs, ring, this.#host);
    if (this.#closed) {
      await room.close();
      throw new ProtocolError("shutdown", "the relay is shutting down");
    }
    // It may have been lost as soon as it was there.
    if (!room.over) this.#rooms.set(key, room);
    return room;
  }

  /** Makes place by forgetting the room that has been empty longest: false where none is. */
  #forgetEmptiest(): boolean {
    let longest: Room | undefined;
    for (const room of this.#rooms.values()) {
      if (room.empty && (longest === undefined || room.emptySince < longest.emptySince)) {
        longest = room;
      }
    }
    if (longest === undefined) return false;
    void this.#forget(longest);
    return true;
  }

  /** Takes an empty room out of memory. */
  #forget(room: Room): Promise<void> {
    this.#rooms.delete(room.key);
    const going = room
      .close()
      .catch((error: unknown) => this.#host.problem(error))
      .finally(() => this.#going.delete(room.key));
    this.#going.set(room.key, going);
    return going;
  }

  /** A room that was lost is nobody's any more. */
  drop(room: Room): void {
    if (this.#rooms.get(room.key) === room) this.#rooms.delete(room.key);
  }

  /** Forgets rooms that have been empty for long, and more of them where memory is short. */
  sweep(now: number): void {
    const longest = this.#host.limits.roomSeconds * 1000;
    for (const room of this.#rooms.values()) {
      if (room.empty && now - room.emptySince > longest) void this.#forget(room);
    }
    // Their memory is back when they are closed: not all of them at once.
    for (let i = 0; i < AT_ONCE && this.#budget.used > this.#budget.total * CROWDED; i++) {
      if (!this.#forgetEmptiest()) return;
    }
  }

  /** Deletes what has been kept for long enough; a room where that fails doesn't hold up the others. */
  async expire(): Promise<void> {
    for (const expiring of [...this.#rooms.values(), this.#logs]) {
      const log = expiring instanceof Room ? expiring.log : expiring;
      if (expiring instanceof Room && expiring.over) continue;
      await log.expire().catch((error: unknown) => this.#host.problem(error));
    }
  }

  /** Closes all rooms, when what is on its way is kept. */
  async close(): Promise<void> {
    this.#closed = true;
    await Promise.all([...this.#rooms.values()].map((room) => this.#forget(room)));
    await Promise.all(this.#going.values());
    await this.#logs.close();
    // What was being opened ends with what it was to be read from.
    await Promise.allSettled(this.#coming.values());
  }
}
