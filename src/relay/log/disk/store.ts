/**
 * A folder of rooms as a disk's log sees it: every call is answered later, so that no disk holds up the
 * relay. SQLite in a thread of its own (sqlite.ts) is one; the simulator's disk another. Both pass one
 * contract suite (test/contract/disk.ts).
 */
import type { Run } from "../run.ts";

/** How much of a room is kept; the oldest entries go first. 0 is without that limit. */
export interface Keep {
  readonly bytes: number;
  readonly entries: number;
  readonly seconds: number;
}

/** When an entry is acknowledged (docs/operations.md, "How safe an entry is"). */
export const FSYNC_POLICIES = ["always", "second", "never"] as const;
export type FsyncPolicy = (typeof FSYNC_POLICIES)[number];

/** What a batch may hold, in bytes; one entry at least. A reader may need a copy of a whole one. */
export const BATCH_BYTES = 32 * 1024;
/** How much history is read at once, in bytes; one batch at least. */
export const PAGE_BYTES = 32 * 1024;
/** How many rooms are looked at for their age at once. */
export const EXPIRE_ROOMS = 64;

/** The disk took or gave nothing: full, failing, not permitted. What was asked for is not done. */
export class StorageError extends Error {
  override name = "StorageError";
}

/** What is kept of the room is not what was written. It has been put aside: the room begins anew. */
export class DamagedError extends Error {
  override name = "DamagedError";
}

/** What a room's file holds. */
export interface Kept {
  readonly logId: Uint8Array;
  /** Number of the oldest entry; equals `next` for none. */
  readonly oldest: number;
  /** Number that the next entry gets. It never goes back while the log's id is the same. */
  readonly next: number;
}

export interface RoomFile {
  /** As it was opened. */
  readonly kept: Kept;
  /** The newest entries, in runs that follow each other without a gap and end at `next`. */
  readonly newest: readonly Run[];
  /**
   * Writes runs of entries, which must follow what is kept, all or nothing; afterwards they survive the
   * end of this process, and with `sync` that of the machine. Deletes what is beyond the limits.
   * @param time milliseconds since 1970, for the entries' age
   * @returns number of the oldest entry kept
   * @throws StorageError when nothing was written; DamagedError; any other error leaves it unknown, and
   *   the file takes nothing more: close it, and find what there is
   */
  append(runs: readonly Run[], time: number, sync: boolean): Promise<number>;
  /** What has been written is on the disk when this resolves. @throws Error; nothing is known then */
  sync(): Promise<void>;
  /**
   * A page of entries from `seq` on, or from the next one that is kept, before entry `end`; undefined
   * for none. Damaged entries are dropped, said in the relay's log, and passed over.
   * @throws StorageError, DamagedError
   */
  page(seq: number, end: number): Promise<Run | undefined>;
  /** Deletes entries older than are kept. @param now milliseconds since 1970 @returns the oldest kept */
  expire(now: number): Promise<number>;
  /**
   * What has been written is on the disk when this resolves, and another may open it. It never rejects:
   * the relay's log has what went wrong.
   */
  close(): Promise<void>;
}

export interface Store {
  readonly fsync: FsyncPolicy;
  /** Rooms in the folder. */
  readonly rooms: number;
  /**
   * Opens a room's file; undefined where nothing is kept of it. A damaged one is put aside, named in the
   * relay's log, and counts as nothing kept. With the policy "always" all that it shows is on the disk.
   * After the machine's end (not only the process's), with another policy, the log may have lost
   * entries that were shown: it goes on under a new id then.
   * @param bytes how much of the newest entries is wanted, at most
   * @throws StorageError
   */
  find(key: string, bytes: number): Promise<RoomFile | undefined>;
  /**
   * Makes a room's file, empty and with this log id; there must be none.
   * @throws StorageError; ProtocolError "rooms-full"; another Error where there is one all the same
   */
  create(key: string, logId: Uint8Array): Promise<RoomFile>;
  /**
   * Removes rooms, none of them open, in which all is older than is kept. A few at a time.
   * @param now milliseconds since 1970
   */
  expire(now: number): Promise<void>;
  /** Closes every file, and lets another have the folder. It never rejects. */
  close(): Promise<void>;
}
