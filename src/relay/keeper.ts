/**
 * Sees that a room's entries are as safe as the policy says before anybody is sent them.
 *
 * What a turn of the event loop has brought is written as one batch. With `always` it is released
 * when the disk has it: one fdatasync at a time, for all that was written meanwhile, and the event
 * loop goes on. With `second` and `never` it is released once it is written.
 */
import { LOG_ID_BYTES } from "../protocol/messages.ts";
import type { Ring } from "./ring.ts";
import { BATCH_BYTES, type RoomFile } from "./roomfile.ts";
import type { Run } from "./run.ts";
import type { Store } from "./store.ts";

/** How often the policy `second` syncs, in milliseconds. */
const SYNC_MS = 1000;

export interface KeeperEvents {
  /** Everything before this position may be sent. */
  released(position: number): void;
  /** A batch has been written. */
  committed(): void;
  /** The disk did not take the entries from `seq` on: they are to be forgotten. */
  refused(seq: number, error: unknown): void;
  /** The disk does not say what it has: the room must be read from it again. */
  lost(error: unknown): void;
}

export class Keeper {
  readonly #store: Store;
  readonly #key: string;
  readonly #ring: Ring;
  readonly #events: KeeperEvents;
  /** Undefined until there is something to keep: who only looks in makes no file. */
  #file: RoomFile | undefined;
  readonly logId: Uint8Array;
  /** Up to where the ring has been written. */
  #written = 0;
  #released = 0;
  #syncing = false;
  #timer: Timer | undefined;
  #closed = false;

  /**
   * Fills the ring with the newest entries that are kept of the room.
   * @throws ProtocolError "storage" or "rooms-full"
   */
  constructor(store: Store, key: string, ring: Ring, events: KeeperEvents) {
    this.#store = store;
    this.#key = key;
    this.#ring = ring;
    this.#events = events;
    this.logId = crypto.getRandomValues(new Uint8Array(LOG_ID_BYTES));
    if (store.has(key)) {
      this.#file = store.open(key, this.logId);
      this.logId = this.#file.logId;
      this.#fill(this.#file);
    }
  }

  #fill(file: RoomFile): void {
    const ring = this.#ring;
    // Half of the ring, so that what comes next does not overwrite it at once.
    ring.beginAt(file.newest(ring.capacity / 2));
    while (ring.nextSeq < file.nextSeq) {
      const page = file.page(ring.nextSeq, file.nextSeq);
      // Where damaged entries were is a gap; the ring holds what follows it.
      if (page?.first !== ring.nextSeq) ring.beginAt(page?.first ?? file.nextSeq);
      if (page !== undefined) ring.appendFrames(page.bytes);
    }
    this.#written = this.#released = ring.head;
  }

  /** Sequence number of the oldest entry that is kept; equals the ring's when nothing else is. */
  get oldestSeq(): number {
    return this.#file?.oldestSeq ?? this.#ring.oldestSeq;
  }

  /**
   * Kept entries from `seq` on, or from the next one there is, before what the ring holds.
   * @throws StorageError, DamagedError
   */
  page(seq: number): Run | undefined {
    return this.#file?.page(seq, this.#ring.oldestSeq);
  }

  /** Writes what the ring has got since the last call. */
  keep(): void {
    const ring = this.#ring;
    if (this.#closed || this.#written === ring.head) return;
    const first = ring.seqAt(this.#written);
    try {
      this.#file ??= this.#store.open(this.#key, this.logId);
      this.#file.append(this.#runs(first), this.#store.now());
    } catch (error) {
      this.#events.refused(first, error);
      return;
    }
    this.#written = ring.head;
    this.#events.committed();
    if (this.#store.fsync !== "always") {
      if (this.#store.fsync === "second") this.#timer ??= setTimeout(this.#everySecond, SYNC_MS);
      this.#release(this.#written);
    } else if (ring.head - this.#released > ring.capacity / 4) {
      // The disk is slower than the senders: they wait for it, before the ring overwrites itself.
      this.#syncNow(this.#file);
    } else {
      this.#sync(this.#file);
    }
  }

  /** The ring's entries from `seq` on, in runs of a batch each. */
  #runs(seq: number): Run[] {
    const ring = this.#ring;
    const runs: Run[] = [];
    for (let first = seq, next = seq; first < ring.nextSeq; first = next) {
      const begin = ring.positionOf(first);
      do next += 1;
      while (next < ring.nextSeq && ring.positionOf(next + 1) - begin <= BATCH_BYTES);
      runs.push({ first, next, bytes: ring.copy(begin, ring.positionOf(next)) });
    }
    return runs;
  }

  #release(position: number): void {
    if (position <= this.#released) return;
    this.#released = position;
    this.#events.released(position);
  }

  #syncNow(file: RoomFile): void {
    try {
      file.syncNow();
    } catch (error) {
      this.#events.lost(error);
      return;
    }
    this.#release(this.#written);
  }

  /** One at a time; what is written meanwhile waits for the next. */
  #sync(file: RoomFile): void {
    if (this.#syncing || this.#released === this.#written) return;
    this.#syncing = true;
    const position = this.#written;
    file.sync((error) => {
      this.#syncing = false;
      if (this.#closed) return;
      if (error !== null) {
        this.#events.lost(error);
        return;
      }
      this.#release(position);
      this.#sync(file);
    });
  }

  readonly #everySecond = () => {
    this.#timer = undefined;
    this.#file?.sync((error) => {
      if (error !== null && !this.#closed) this.#events.lost(error);
    });
  };

  /** Deletes what is too old. */
  expire(): void {
    this.#file?.expire(this.#store.now());
  }

  /** What has been written is on the disk when this returns. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    clearTimeout(this.#timer);
    this.#file?.close();
  }
}
