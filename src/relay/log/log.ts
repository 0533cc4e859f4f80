/**
 * A room's log, whatever keeps it: memory (memory.ts), a disk (disk/), or a stream that other relays
 * share (jetstream/). All kinds pass one contract suite (test/contract/log.ts).
 *
 * Entries go one way: appended, committed, read. A log shows only what is committed, and takes nothing
 * back: what is on its way lies outside the ring, and ends committed, refused, or in the log being lost.
 */
import type { Ring } from "./ring.ts";
import type { Run } from "./run.ts";

export interface LogEvents {
  /** The ring has more entries. Called before what came first can be overwritten. */
  committed(): void;
  /** What these connections have sent and nobody has been shown is not kept: they must send it again. */
  refused(connections: ReadonlySet<number>, error: unknown): void;
  /**
   * Nobody can say what is kept: the room's members must come back, and the room be opened again.
   * The log is closed already, and says nothing more.
   */
  lost(error: unknown): void;
  /**
   * The client with this token has connected again, here or to another relay.
   * @returns the number of its old connection here, if it has one: nothing of it is to come any more
   */
  replaced(token: string): number | undefined;
}

export interface Log {
  /** Random, 16 bytes: whose numbers they are. It never changes, and no other log has it. */
  readonly id: Uint8Array;
  /** The newest committed entries. `ring.next` is the number that the next committed entry gets. */
  readonly ring: Ring;
  /** Number of the oldest entry that can be had, in the ring or as a page; `ring.next` for none. */
  readonly oldest: number;
  /** Senders are to be read later: more is on its way than goes out. */
  readonly congested: boolean;
  /**
   * Takes an entry, `source` from `start` to `end`, which may be overwritten afterwards.
   * @throws ProtocolError "relay-full" when there is no memory for it; the log is as it was
   */
  append(type: number, from: number, source: Uint8Array, start: number, end: number): void;
  /** A turn of the event loop ends: what was appended goes on its way. */
  flush(): void;
  /**
   * Resolves when nothing can come any more of what was sent by connection `from` of this relay, if
   * there is one, and by older connections of the client with this token to other relays.
   * @throws Error when that can't be known
   */
  fence(token: string, from: number | undefined): Promise<void>;
  /**
   * Entries from number `seq` on that the ring no longer holds, or from the next one that is kept;
   * undefined for none before the ring's.
   * @throws Error when they can't be read: that does not mean that there are none
   */
  page(seq: number): Promise<Run | undefined>;
  /** Deletes what has been kept for long enough. @throws Error; others' logs are none the worse */
  expire(): Promise<void>;
  /** Ends it here. What was appended before is kept when this resolves, if it can be. */
  close(): Promise<void>;
}

/** Where logs come from. */
export interface Logs {
  /**
   * Opens the log of room `key`, 64 hexadecimal digits, and fills `ring`, which is empty, with its
   * newest entries. To look in keeps nothing: only what is appended does.
   * @throws ProtocolError "storage" or "rooms-full"
   */
  open(key: string, ring: Ring, events: LogEvents): Promise<Log>;
  /** Deletes what has been kept for long enough of rooms that are not open. */
  expire(): Promise<void>;
  /** Rooms of which something is kept outside of memory. */
  readonly kept: number;
  /** What is wrong with what keeps them, for /healthz; undefined when all is well. */
  readonly trouble: string | undefined;
  close(): Promise<void>;
}
