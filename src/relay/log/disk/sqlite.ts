/**
 * A folder of SQLite files, in a thread of its own: a disk that is slow, or hangs, holds up nobody who
 * doesn't wait for it.
 */
import { reasonOf } from "../../../reason.ts";
import type { Run } from "../run.ts";
import { bootId } from "./boot.ts";
import { type FolderOptions, type Opened, pack, unpack } from "./calls.ts";
import type { FsyncPolicy, Keep, Kept, RoomFile, Store } from "./store.ts";
import { Thread } from "./thread.ts";

/** How long the disk may take to put everything away, in milliseconds: then it is left as it is. */
const CLOSE_MS = 10_000;

export interface SqliteStoreOptions {
  readonly folder: string;
  readonly fsync: FsyncPolicy;
  readonly keep: Keep;
  /** Rooms in the folder, at most. */
  readonly maxRooms: number;
  /** The machine's run; this one where it is left out (boot.ts). */
  readonly boot?: string;
}

export class SqliteStore implements Store {
  readonly fsync: FsyncPolicy;
  readonly #options: FolderOptions;
  readonly #report: (problem: string) => void;
  #thread: Thread | undefined;
  #starting: Promise<Thread> | undefined;
  #rooms = 0;
  #closed = false;

  private constructor(options: FolderOptions, report: (problem: string) => void) {
    this.fsync = options.fsync;
    this.#options = options;
    this.#report = report;
  }

  /**
   * Opens a relay's folder, made where there is none.
   * @param report told of what is wrong, for the relay's log
   * @throws StorageError when the folder can't be used, with what to do about it
   */
  static async open(
    options: SqliteStoreOptions,
    report: (problem: string) => void,
  ): Promise<SqliteStore> {
    const { folder, fsync, keep, maxRooms, boot = bootId() } = options;
    const store = new SqliteStore({ folder, fsync, keep, maxRooms, boot }, report);
    try {
      await store.#alive();
    } catch (error) {
      await store.close();
      throw error;
    }
    return store;
  }

  get rooms(): number {
    return this.#rooms;
  }

  /** The thread; another one where it has ended. @throws StorageError, Error */
  async #alive(): Promise<Thread> {
    if (this.#closed) throw new Error("the folder is closed");
    if (this.#starting === undefined && this.#thread?.alive) return this.#thread;
    this.#starting ??= this.#start(this.#thread).finally(() => {
      this.#starting = undefined;
    });
    return this.#starting;
  }

  async #start(before: Thread | undefined): Promise<Thread> {
    await before?.gone;
    const thread = new Thread({
      rooms: (count) => {
        this.#rooms = count;
      },
      problem: this.#report,
    });
    this.#thread = thread;
    const { descriptors } = thread;
    const restarted = before !== undefined;
    try {
      await thread.call("start", { options: this.#options, descriptors, restarted });
    } catch (error) {
      thread.kill();
      throw error;
    }
    return thread;
  }

  async find(key: string, bytes: number): Promise<RoomFile | undefined> {
    const thread = await this.#alive();
    const opened = await thread.call("find", { key, bytes });
    return opened === undefined ? undefined : new SqliteFile(thread, opened, this.#report);
  }

  async create(key: string, logId: Uint8Array): Promise<RoomFile> {
    const thread = await this.#alive();
    return new SqliteFile(thread, await thread.call("create", { key, logId }), this.#report);
  }

  async expire(now: number): Promise<void> {
    await (await this.#alive()).call("expire", { now });
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    await this.#starting?.catch(() => undefined);
    const thread = this.#thread;
    if (thread === undefined) return;
    if (thread.alive) await inTime(thread.call("end", {}), this.#report);
    thread.kill();
    await inTime(thread.gone, this.#report);
  }
}

/** A room's file, in the thread that opened it: it ends with it. */
class SqliteFile implements RoomFile {
  readonly kept: Kept;
  readonly newest: readonly Run[];
  readonly #thread: Thread;
  readonly #file: number;
  readonly #report: (problem: string) => void;
  #closed = false;

  constructor(thread: Thread, opened: Opened, report: (problem: string) => void) {
    this.#thread = thread;
    this.#file = opened.file;
    this.kept = opened.kept;
    this.newest = unpack(opened.newest);
    this.#report = report;
  }

  append(runs: readonly Run[], time: number, sync: boolean): Promise<number> {
    const packed = pack(runs);
    const args = { file: this.#file, runs: packed, time, sync };
    return this.#thread.call("append", args, [packed.bytes]);
  }

  async sync(): Promise<void> {
    await this.#thread.call("sync", { file: this.#file });
  }

  async page(seq: number, end: number): Promise<Run | undefined> {
    const packed = await this.#thread.call("page", { file: this.#file, seq, end });
    return packed === undefined ? undefined : unpack(packed)[0];
  }

  expire(now: number): Promise<number> {
    return this.#thread.call("expireFile", { file: this.#file, now });
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    // It is closed with its thread.
    if (!this.#thread.alive) return;
    await inTime(this.#thread.call("closeFile", { file: this.#file }), this.#report);
  }
}

/** Waits for something that may fail or never come; either way this resolves. */
async function inTime(action: Promise<unknown>, report: (problem: string) => void): Promise<void> {
  let timer: Timer | undefined;
  const late = new Promise<never>((_, reject) => {
    const why = `the disk has not put everything away within ${CLOSE_MS / 1000} s`;
    timer = setTimeout(() => reject(new Error(why)), CLOSE_MS);
  });
  try {
    await Promise.race([action, late]);
  } catch (error) {
    report(reasonOf(error));
  } finally {
    clearTimeout(timer);
  }
}
