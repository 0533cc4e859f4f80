/** A room: one log and its readers. */
import { LOG_ID_BYTES } from "../protocol/messages.ts";
import type { Cluster } from "./cluster.ts";
import { ClusterLog } from "./clusterlog.ts";
import type { Connection } from "./connection.ts";
import { Keeper } from "./keeper.ts";
import { Ring } from "./ring.ts";
import type { Run } from "./run.ts";
import type { Store } from "./store.ts";

/** What a room asks of the relay that holds it. */
export interface RoomHost {
  /** Calls `flush` when this turn of the event loop ends. */
  serveSoon(room: Room): void;
  /** A batch has been written to the disk. */
  committed(): void;
  /** The disk did not take the entries of these members: they must send them again. */
  storeFailed(senders: Connection[], error: unknown): void;
  /** A client that was here has connected again, to this relay or to another. */
  replaced(room: Room, token: string): void;
  /** The room can't go on as it is: its members must come back, and it be read again. */
  roomLost(room: Room, error: unknown): void;
}

export class Room {
  readonly key: string;
  /** Random, 16 bytes: tells a client whether its last sequence number belongs to this log. */
  logId: Uint8Array;
  readonly ring: Ring;
  readonly #members: Connection[] = [];
  readonly #host: RoomHost;
  readonly #keeper: Keeper | undefined;
  /** The log that other relays share; undefined for a relay alone. */
  #shared: ClusterLog | undefined;
  /** Position up to which members may read: beyond it entries are not as safe as they shall be. */
  readable = 0;
  /** Head of the log at the last flush. */
  #flushed = 0;
  #scheduled = false;
  /** When the last member left, in milliseconds on the relay's clock. */
  emptySince = 0;

  /**
   * @param store keeps the room's entries; without it they are in memory only
   * @throws ProtocolError "storage" when what is kept of the room can't be read
   */
  constructor(key: string, ringBytes: number, host: RoomHost, store?: Store) {
    this.key = key;
    this.#host = host;
    this.ring = new Ring(ringBytes);
    if (store !== undefined) {
      this.#keeper = new Keeper(store, key, this.ring, {
        released: (position) => this.#serve(position),
        committed: () => this.#host.committed(),
        refused: (seq, error) => this.#refuse(seq, error),
        lost: (error) => this.#host.roomLost(this, error),
      });
      this.readable = this.#flushed = this.ring.head;
    }
    this.logId = this.#keeper?.logId ?? crypto.getRandomValues(new Uint8Array(LOG_ID_BYTES));
  }

  /** Makes it a room that other relays serve too; before anybody joins. @throws what they say */
  async share(cluster: Cluster): Promise<void> {
    this.#shared = await ClusterLog.open(cluster, this.key, this.ring, {
      arrived: () => this.#arrived(),
      refused: (numbers, error) => this.#host.storeFailed(this.#membersWith(numbers), error),
      lost: (error) => this.#host.roomLost(this, error),
      replaced: (token) => this.#host.replaced(this, token),
    });
    this.logId = this.#shared.logId;
    this.readable = this.#flushed = this.ring.head;
  }

  /**
   * Says to all relays that a client has come back. Nothing of what it sent before comes then.
   * @param number its old connection, where it was this relay's
   */
  async replace(token: string, number: number | undefined): Promise<void> {
    await this.#shared?.replace(token, number);
  }

  /** What this connection has sent and nobody has been given is not to be given to anybody. */
  forget(number: number): void {
    this.#shared?.forget(number);
  }

  /** Its senders are to be read later. */
  get congested(): boolean {
    return this.#shared?.congested === true;
  }

  get size(): number {
    return this.#members.length;
  }

  get members(): readonly Connection[] {
    return this.#members;
  }

  /** Sequence number of the oldest entry that can be had. */
  get oldestSeq(): number {
    const kept = this.#keeper?.oldestSeq ?? this.#shared?.oldestSeq ?? this.ring.oldestSeq;
    return Math.min(kept, this.ring.oldestSeq);
  }

  /** Entries that the ring holds no more, from `seq` on; undefined where none are kept. */
  page(seq: number): Run | undefined | Promise<Run | undefined> {
    return this.#shared === undefined ? this.#keeper?.page(seq) : this.#shared.page(seq);
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
    if (this.#shared === undefined) {
      const ring = this.ring;
      // A burst must not overtake readers that would have taken it: serve them half a ring early.
      if (ring.head - this.#flushed > ring.capacity / 2) this.flush();
      ring.append(type, from, source, start, end);
    } else {
      this.#shared.submit(type, from, source.slice(start, end));
    }
    this.#schedule();
  }

  #schedule(): void {
    if (this.#scheduled) return;
    this.#scheduled = true;
    this.#host.serveSoon(this);
  }

  /** The ring has entries of all relays. */
  #arrived(): void {
    if (this.ring.head - this.#flushed > this.ring.capacity / 2) this.flush();
    else this.#schedule();
  }

  /** Keeps what is new, where entries are kept, and serves the readers. */
  flush(): void {
    this.#scheduled = false;
    this.#flushed = this.ring.head;
    this.#shared?.publish();
    if (this.#keeper === undefined) this.#serve(this.ring.head);
    else this.#keeper.keep();
  }

  /** Writes to every reader that can take it what it has not read yet. */
  #serve(position: number): void {
    this.readable = position;
    for (let i = this.#members.length - 1; i >= 0; i--) {
      this.#members[i]?.pump();
    }
  }

  #refuse(seq: number, error: unknown): void {
    const numbers = this.ring.sendersFrom(seq);
    this.ring.truncate(seq);
    this.#flushed = this.ring.head;
    for (const member of this.#members) member.retreat(this.ring);
    this.#host.storeFailed(this.#membersWith(numbers), error);
  }

  #membersWith(numbers: Set<number>): Connection[] {
    return this.#members.filter((member) => numbers.has(member.number));
  }

  /** Deletes what has been kept for long enough. */
  expire(): void {
    this.#keeper?.expire();
  }

  /** Ends the room in memory; what is kept of it stays. */
  close(): void {
    this.#keeper?.close();
    this.#shared?.close();
  }
}
