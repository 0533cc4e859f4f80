/**
 * One room's log on disk: an SQLite file of batches, each a run of entries as the frames that clients
 * read (docs/operations.md, "What is in the folder"). In the disk's thread, which other rooms use too:
 * reading and writing go to the kernel's memory and are done at once, syncs are waited for aside.
 *
 * While the write-ahead log is taken over into the database nothing may be written: the log must be on
 * the disk before the database has any of it, and the database before the log begins anew.
 */
import { closeSync, existsSync, openSync, statSync } from "node:fs";
import { reasonOf } from "../../../reason.ts";
import { asRun, cut, joined, type Run } from "../run.ts";
import { attempt } from "./attempt.ts";
import { type Descriptors, dataSync } from "./descriptors.ts";
import { removeFile } from "./names.ts";
import {
  DamagedError,
  type FsyncPolicy,
  type Keep,
  type Kept,
  PAGE_BYTES,
  StorageError,
} from "./store.ts";
import { type Extent, PAGE_SIZE, type Row, Table } from "./table.ts";

/** How large the write-ahead log becomes, about, in bytes. */
const WAL_BYTES = 4 << 20;
/** Pages that a batch needs besides its own: the tables' and those of what is deleted. */
/** How often it is looked whether a file still has its name, in milliseconds. */
const NAME_MS = 1000;
const PAGES_BESIDES = 3;

export interface RoomFileOptions {
  readonly keep: Keep;
  readonly fsync: FsyncPolicy;
  /** The machine's run (boot.ts). */
  readonly boot: string;
  readonly descriptors: Descriptors;
  /** How long to wait for one that has not let go of a file, in milliseconds. */
  readonly patience: number;
  /** Sees that the names in the file's folder are on the disk. */
  readonly syncFolder: () => Promise<void>;
  /** Told of what is wrong and does not end the file. */
  readonly report: (problem: string) => void;
}

export class RoomFile {
  readonly path: string;
  readonly #options: RoomFileOptions;
  readonly #table: Table;
  readonly #logId: Uint8Array;
  /** Descriptors for syncs, of the write-ahead log and the database. */
  #wal: number | undefined;
  #db: number | undefined;
  #oldest: number;
  #next: number;
  #bytes: number;
  /** Whether the file says that entries may have been shown which the disk has not got. */
  #marked: boolean;
  /** Bytes in the write-ahead log, about; at least 1 when there are any. */
  #logged: number;
  /**
   * Names may not be on the disk, nor what is in the database and not in the log. A name above all: the
   * log that a process before this one has removed would come back with the power, and be believed.
   */
  #unsettled = true;
  /** Nothing may be written until it has ended. */
  #checkpointing: Promise<void> | undefined;
  #syncing: Promise<void> | undefined;
  #nextSync: Promise<void> | undefined;
  /** What ended it: nobody knows what the disk has, or it is damaged. */
  #failure: Error | undefined;
  /** It is being closed: nothing is written any more. */
  #ending = false;
  #closed = false;
  readonly #inode: number;
  /** When its name was looked at last, on this thread's clock. */
  #checkedAt = performance.now();

  /**
   * Makes a room's file.
   * @throws StorageError; nothing is there then that was not before. Error where there is one already
   */
  static make(path: string, logId: Uint8Array, options: RoomFileOptions): RoomFile {
    // Whoever thinks that there is none must look again.
    if (existsSync(path)) throw new Error(`${path} is there already`);
    return attempt(path, () => {
      closeSync(openSync(path, "wx", 0o600));
      try {
        const table = new Table(path, options.patience);
        return closing(table, () => {
          table.create(logId);
          return new RoomFile(path, table, options, true);
        });
      } catch (error) {
        removeFile(path);
        throw error;
      }
    });
  }

  /**
   * Opens a room's file; undefined for one that was never finished.
   * @throws DamagedError, StorageError
   */
  static open(path: string, options: RoomFileOptions): RoomFile | undefined {
    return attempt(path, () => {
      // What is there already has not been synced by anybody who says so.
      const isLogged = existsSync(`${path}-wal`);
      const table = new Table(path, options.patience);
      return closing(table, () => {
        if (!table.empty) return new RoomFile(path, table, options, isLogged);
        table.close();
        return undefined;
      });
    });
  }

  private constructor(path: string, table: Table, options: RoomFileOptions, isLogged: boolean) {
    this.path = path;
    this.#inode = statSync(path).ino;
    this.#options = options;
    this.#table = table;
    table.check();
    const [log, next] = [table.fact("log"), table.fact("next")];
    if (!(log instanceof Uint8Array) || !isNumber(next)) {
      throw new DamagedError(`${path} has not the format of this version`);
    }
    this.#next = Math.max(next, this.#afterNewest());
    this.#oldest = table.oldest?.first ?? this.#next;
    if (!isNumber(this.#oldest) || this.#oldest > this.#next) {
      throw new DamagedError(`${path} is damaged (entry ${this.#oldest})`);
    }
    this.#bytes = table.bytes;
    this.#logged = isLogged ? 1 : 0;
    this.#logId = this.#survivor(new Uint8Array(log));
    this.#marked = table.fact("boot") !== undefined;
  }

  /** The number after the newest batch, whatever is damaged in it. */
  #afterNewest(): number {
    const newest = this.#table.newest;
    if (newest === undefined) return 1;
    const [row] = this.#table.rows(newest.first, newest.first);
    if (row === undefined || !isNumber(row.first) || !isNumber(row.last) || row.last < row.first) {
      throw new DamagedError(`${this.path} is damaged (batch ${newest.first})`);
    }
    return Math.max(row.last + 1, checked(row)?.next ?? 0);
  }

  /**
   * The log's id. Where the machine has ended meanwhile, and entries that were shown may be lost, a new
   * one: their numbers are given again.
   */
  #survivor(logId: Uint8Array): Uint8Array {
    const mark = this.#table.fact("boot");
    const isOther = mark !== undefined && mark !== this.#options.boot;
    const id = isOther ? crypto.getRandomValues(new Uint8Array(logId.length)) : logId;
    // With "always" all of it is synced before it is shown, so that nothing is left to mark.
    if (isOther || (mark !== undefined && this.#options.fsync === "always")) {
      this.#table.transaction(() => {
        this.#table.setFact("log", id);
        this.#table.setFact("boot", undefined);
      });
      this.#logged += 1;
    }
    return id;
  }

  get kept(): Kept {
    return { logId: this.#logId, oldest: this.#oldest, next: this.#next };
  }

  /** When the newest entries were written, in milliseconds since 1970; 0 for none. */
  get newestTime(): number {
    const time = this.#table.newest?.time;
    return typeof time === "number" ? time : 0;
  }

  /** Whether anything was written at this time, in milliseconds since 1970, or later. */
  hasSince(time: number): boolean {
    return attempt(this.path, () => this.#table.hasSince(time));
  }

  /**
   * Sees that all that is in the file is on the disk, where the policy or the file's past asks for it.
   * @throws StorageError
   */
  async settle(): Promise<void> {
    if (this.#options.fsync !== "always" && this.#logged === 0 && !this.#marked) return;
    try {
      await this.sync();
    } catch (error) {
      throw new StorageError(`${this.path}: ${reasonOf(error)}`);
    }
  }

  /** The newest entries, `bytes` bytes at most, in runs without a gap that end at the newest. */
  newest(bytes: number): Run[] {
    return attempt(this.path, () => {
      let [first, left] = [this.#next, bytes];
      for (let extents = this.#table.before(first); extents.length > 0; ) {
        for (const { first: from, last, size } of extents) {
          if (last !== first - 1 || (size ?? 0) > left) return this.#runs(first);
          [first, left] = [from, left - (size ?? 0)];
        }
        extents = this.#table.before(first);
      }
      return this.#runs(first);
    });
  }

  /** Runs from the batch that begins with `first` to the newest; after the last damaged one. */
  #runs(first: number): Run[] {
    let runs: Run[] = [];
    for (const row of this.#table.rows(first, this.#next)) {
      const run = checked(row);
      if (run !== undefined) runs.push(run);
      else {
        runs = [];
        this.#dropDamaged(row);
      }
    }
    return runs;
  }

  /** As Store's `append` says. */
  async append(runs: readonly Run[], time: number, sync: boolean): Promise<number> {
    await this.#free();
    this.#checkName();
    const marking = !sync && !this.#marked;
    this.#change(() => {
      if (marking) this.#table.setFact("boot", this.#options.boot);
      for (const run of runs) this.#insert(run, time);
    });
    for (const run of runs) {
      this.#logged += Math.max(run.bytes.length, PAGE_SIZE) + PAGES_BESIDES * PAGE_SIZE;
    }
    const oldest = this.#oldest;
    if (sync || marking) {
      await this.sync();
      // Only now: what is shown before could be lost, and the mark with it.
      this.#marked ||= marking;
    }
    this.#startCheckpoint();
    return oldest;
  }

  /**
   * A file whose name is gone takes what is written, and nobody finds it again.
   * @throws Error; nobody knows then what is kept
   */
  #checkName(): void {
    const now = performance.now();
    if (now - this.#checkedAt < NAME_MS) return;
    this.#checkedAt = now;
    const file = statSync(this.path, { throwIfNoEntry: false });
    if (file?.ino === this.#inode) return;
    throw new Error(`${this.path} is not there any more, or is another file`);
  }

  /** Changes the file, or neither it nor what is known of it. @throws DamagedError, StorageError */
  #change(action: () => void): void {
    const state = [this.#oldest, this.#next, this.#bytes] as const;
    try {
      attempt(this.path, () => this.#table.transaction(action));
    } catch (error) {
      [this.#oldest, this.#next, this.#bytes] = state;
      throw error;
    }
  }

  #insert({ first, next, bytes }: Run, time: number): void {
    if (first !== this.#next || next <= first) {
      throw new StorageError(`${this.path}: entry ${first} does not follow ${this.#next - 1}`);
    }
    this.#table.add(first, next - 1, time, Bun.hash.crc32(bytes), bytes);
    this.#next = next;
    this.#bytes += bytes.length;
    this.#dropCrowding(first);
  }

  #dropCrowding(first: number): void {
    const { bytes, entries } = this.#options.keep;
    for (;;) {
      const tooMuch = bytes > 0 && this.#bytes > bytes;
      if (!tooMuch && !(entries > 0 && this.#next - this.#oldest > entries)) return;
      const oldest = this.#table.oldest;
      // What has just come stays, however small the limits are, and so does half a batch too many.
      if (oldest === undefined || oldest.first === first) return;
      if (!tooMuch && this.#next - this.#after(oldest) < entries) return;
      this.#drop(oldest);
    }
  }

  #after(extent: Extent): number {
    return isNumber(extent.last) ? extent.last + 1 : extent.first + 1;
  }

  /** Within a transaction. */
  #drop(extent: Extent): void {
    this.#table.remove(extent.first);
    this.#bytes -= extent.size ?? 0;
    const oldest = this.#table.oldest;
    this.#oldest = oldest?.first ?? this.#next;
    // What has no batch any more goes on with its numbers all the same.
    if (oldest === undefined) this.#table.setFact("next", this.#next);
  }

  #dropDamaged(row: Row): void {
    const extent: Extent = { ...row, time: 0, size: sizeOf(row.bytes) };
    const last = this.#after(extent) - 1;
    this.#options.report(`entries ${row.first} to ${last} in ${this.path} are damaged and dropped`);
    this.#change(() => {
      this.#drop(extent);
      // It may have been the newest.
      this.#table.setFact("next", this.#next);
    });
    this.#logged += PAGES_BESIDES * PAGE_SIZE;
  }

  /** As Store's `expire` says. */
  async expire(now: number): Promise<number> {
    await this.#free();
    const { seconds } = this.#options.keep;
    const limit = now - seconds * 1000;
    const isOld = (extent: Extent | undefined): extent is Extent =>
      extent !== undefined && !(typeof extent.time === "number" && extent.time >= limit);
    if (seconds === 0 || !attempt(this.path, () => isOld(this.#table.oldest))) return this.#oldest;
    this.#change(() => {
      for (let oldest = this.#table.oldest; isOld(oldest); oldest = this.#table.oldest) {
        this.#drop(oldest);
        this.#logged += PAGES_BESIDES * PAGE_SIZE;
      }
    });
    this.#startCheckpoint();
    return this.#oldest;
  }

  /** As Store's `page` says. */
  async page(seq: number, end: number): Promise<Run | undefined> {
    this.#check();
    for (;;) {
      const found = attempt(this.path, () => this.#read(seq, end));
      if (found.bad === undefined) return joined(found.parts);
      // Reading waits for nothing, dropping does as all writing does.
      const { bad } = found;
      await this.#free();
      attempt(this.path, () => {
        const [row] = this.#table.rows(bad.first, bad.first);
        if (row !== undefined && checked(row) === undefined) this.#dropDamaged(row);
      });
    }
  }

  /** A page, or the damaged batch that is in its way. */
  #read(seq: number, end: number): { parts: Run[]; bad?: Row } {
    const extents = this.#table.from(seq).filter((extent) => this.#after(extent) > seq);
    let [bytes, high] = [0, extents[0]?.first];
    for (const { first, size } of extents) {
      if (first >= end || bytes >= PAGE_BYTES) break;
      bytes += size ?? 0;
      high = first;
    }
    const low = extents[0]?.first;
    if (low === undefined || high === undefined || Math.max(low, seq) >= end) return { parts: [] };
    const parts: Run[] = [];
    for (const row of this.#table.rows(low, high)) {
      const run = checked(row);
      const before = parts.at(-1);
      // A page has no gaps: what comes after one is another page.
      if (before !== undefined && run?.first !== before.next) break;
      if (run === undefined) return { parts: [], bad: row };
      parts.push(cut(run, seq, end));
    }
    return { parts };
  }

  /** @throws what ended the file */
  #check(): void {
    if (this.#failure !== undefined) throw this.#failure;
    if (this.#closed) throw new Error(`${this.path} is closed`);
  }

  /** Resolves when something may be written; in the order of the calls. @throws what ended the file */
  async #free(): Promise<void> {
    while (this.#checkpointing !== undefined) await this.#checkpointing;
    this.#check();
    if (this.#ending) throw new Error(`${this.path} is being closed`);
  }

  /** As Store's `sync` says. One at a time: who comes meanwhile shares the next. */
  async sync(): Promise<void> {
    this.#check();
    if (this.#syncing === undefined) {
      this.#syncing = this.#syncNow().finally(() => {
        this.#syncing = undefined;
      });
      await this.#syncing;
      return;
    }
    this.#nextSync ??= this.#afterSync(this.#syncing);
    await this.#nextSync;
  }

  async #afterSync(running: Promise<void>): Promise<void> {
    // It says by itself what failed.
    await running.catch(() => undefined);
    this.#nextSync = undefined;
    await this.sync();
  }

  async #syncNow(): Promise<void> {
    try {
      const isLogged = this.#logged > 0;
      if (isLogged) {
        this.#wal ??= this.#options.descriptors.open(`${this.path}-wal`);
        await dataSync(this.#wal);
      }
      if (this.#unsettled) {
        await dataSync(this.#dbDescriptor());
        await this.#options.syncFolder();
        // Before anything is written the log has no name that could be lost.
        this.#unsettled = !isLogged;
      }
    } catch (error) {
      this.#failure ??= syncFault(this.path, error);
      throw this.#failure;
    }
  }

  #dbDescriptor(): number {
    this.#db ??= this.#options.descriptors.open(this.path);
    return this.#db;
  }

  #startCheckpoint(): void {
    if (this.#logged < WAL_BYTES || this.#checkpointing !== undefined) return;
    if (this.#closed || this.#failure !== undefined) return;
    this.#checkpointing = this.#checkpoint().then(
      () => {
        this.#checkpointing = undefined;
      },
      (error) => {
        this.#checkpointing = undefined;
        // The write-ahead log has it all still: with room on the disk it will do.
        if (error instanceof StorageError) this.#options.report(error.message);
        else this.#failure ??= error instanceof Error ? error : new Error(String(error));
      },
    );
  }

  /** Nothing is written meanwhile. @throws StorageError when the log is as long as it was; Error */
  async #checkpoint(): Promise<void> {
    await this.sync();
    this.#logged = 1;
    attempt(this.path, () => this.#table.checkpoint());
    try {
      await dataSync(this.#dbDescriptor());
    } catch (error) {
      throw syncFault(this.path, error);
    }
  }

  /**
   * Lets go of the file; before, where it can be, all is put on the disk and into the database.
   * @throws Error when that can't be; the file is let go of all the same
   */
  async close(): Promise<void> {
    if (this.#ending) return;
    this.#ending = true;
    try {
      while (this.#checkpointing !== undefined) await this.#checkpointing;
      this.#check();
      if (this.#logged === 0 && !this.#marked) return;
      this.#unmark();
      await this.#checkpoint();
    } finally {
      await this.dispose();
    }
  }

  /** All that was shown will be on the disk: behind the entries in the log, this is not there before they are. */
  #unmark(): void {
    if (!this.#marked) return;
    try {
      this.#change(() => this.#table.setFact("boot", undefined));
      this.#logged += 1;
    } catch (error) {
      // A full disk. Then the room may get a new id for nothing.
      if (!(error instanceof StorageError)) throw error;
    }
  }

  /** Lets go of the file as it is. */
  async dispose(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    // A descriptor must not be closed under a sync: its number may be another file's by then.
    while (this.#syncing !== undefined || this.#checkpointing !== undefined) {
      await Promise.allSettled([this.#syncing, this.#checkpointing]);
    }
    try {
      this.#table.close();
    } finally {
      const { descriptors } = this.#options;
      // After SQLite's own: to close any descriptor of a file gives up all locks on it.
      for (const one of [this.#wal, this.#db]) if (one !== undefined) descriptors.close(one);
    }
  }
}

const isNumber = (value: unknown): value is number =>
  typeof value === "number" && Number.isSafeInteger(value) && value > 0;

const sizeOf = (bytes: unknown) => (bytes instanceof Uint8Array ? bytes.length : 0);

function syncFault(path: string, error: unknown): Error {
  return new Error(`${path}: can't be synced: ${reasonOf(error)}`);
}

/** Runs something that opens a table; closes it where that fails. */
function closing<T>(table: Table, action: () => T): T {
  try {
    return action();
  } catch (error) {
    table.close();
    throw error;
  }
}

/** A batch whose bytes are those that were written and make whole frames in order. */
function checked(row: Row): Run | undefined {
  if (!(row.bytes instanceof Uint8Array) || Bun.hash.crc32(row.bytes) !== row.crc) return undefined;
  const run = asRun(row.first, row.bytes);
  return run !== undefined && run.next - 1 === row.last && run.next > run.first ? run : undefined;
}
