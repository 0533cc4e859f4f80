/**
 * One room's log on disk: an SQLite file of batches, each a run of entries as the frames that clients
 * read (docs/operations.md, "What is in the folder").
 */
import { Database, SQLiteError, type Statement } from "bun:sqlite";
import { closeSync, fdatasync, fdatasyncSync, openSync } from "node:fs";
import { asRun, cut, joined, type Run } from "./run.ts";

/** How much of a room is kept on disk; the oldest entries go first. 0 is without that limit. */
export interface Keep {
  readonly bytes: number;
  readonly entries: number;
  readonly seconds: number;
}

/** The file is not what this program wrote: it can't be gone on with. */
export class DamagedError extends Error {
  override name = "DamagedError";
}

/** The disk took or gave nothing: full, failing, not permitted. What was asked for is not done. */
export class StorageError extends Error {
  override name = "StorageError";
}

const FORMAT = 1;
/** How much history is read at once, in bytes; one batch at least. */
const PAGE_BYTES = 32 * 1024;
/** What a batch may hold, in bytes; one entry at least. A reader may need a copy of a whole one. */
export const BATCH_BYTES = 32 * 1024;

interface Row {
  readonly first: number;
  readonly last: number;
  readonly crc: number;
  readonly bytes: Uint8Array;
}

export class RoomFile {
  readonly path: string;
  readonly logId: Uint8Array;
  readonly #db: Database;
  readonly #keep: Keep;
  readonly #insert: Statement;
  readonly #oldest: Statement<{ first: number; last: number; time: number; size: number }, []>;
  readonly #delete: Statement;
  readonly #from: Statement<Row, [number]>;
  readonly #damage: (what: string) => void;
  /** The write-ahead log, for fdatasync. */
  #wal: number | undefined;
  #oldestSeq: number;
  #nextSeq: number;
  #bytes: number;

  /**
   * Opens a room's file, or makes it.
   * @param logId for a file that is made
   * @param damage told of entries that are damaged; they are dropped, the rest is good
   * @throws DamagedError, StorageError
   */
  constructor(path: string, logId: Uint8Array, keep: Keep, damage: (what: string) => void) {
    this.path = path;
    this.#keep = keep;
    this.#damage = damage;
    this.#db = attempt(path, () => new Database(path, { create: true, strict: true }));
    try {
      const facts = attempt(path, () => this.#prepare(logId));
      this.logId = facts.logId;
      this.#oldestSeq = facts.oldest;
      this.#nextSeq = facts.next;
      this.#bytes = facts.bytes;
      this.#insert = this.#db.prepare(
        "INSERT INTO batch (first, last, time, crc, bytes) VALUES (?, ?, ?, ?, ?)",
      );
      this.#oldest = this.#db.prepare(
        "SELECT first, last, time, length(bytes) AS size FROM batch ORDER BY first LIMIT 1",
      );
      this.#delete = this.#db.prepare("DELETE FROM batch WHERE first = ?");
      this.#write = this.#db.transaction((runs, time) => this.#insertRuns(runs, time));
      this.#from = this.#db.prepare(
        "SELECT first, last, crc, bytes FROM batch WHERE first >= coalesce((SELECT max(first) FROM batch WHERE first <= ?1), ?1) ORDER BY first",
      );
    } catch (error) {
      this.#db.close();
      throw error;
    }
  }

  #prepare(newLogId: Uint8Array) {
    const db = this.#db;
    // Nobody else opens it, so that no shared memory is needed. A commit is written, not synced.
    for (const pragma of [
      "locking_mode = EXCLUSIVE",
      "journal_mode = WAL",
      "synchronous = NORMAL",
    ]) {
      db.run(`PRAGMA ${pragma}`);
    }
    db.transaction(() => {
      db.run("CREATE TABLE IF NOT EXISTS fact (name TEXT PRIMARY KEY, value) WITHOUT ROWID");
      db.run(
        "CREATE TABLE IF NOT EXISTS batch (first INTEGER PRIMARY KEY, last INTEGER, time INTEGER, crc INTEGER, bytes BLOB)",
      );
      const add = db.prepare("INSERT OR IGNORE INTO fact VALUES (?, ?)");
      add.run("format", FORMAT);
      add.run("log", newLogId);
      add.run("next", 1);
    })();
    const fact = (name: string) =>
      db.query<{ value: unknown }, [string]>("SELECT value FROM fact WHERE name = ?").get(name)
        ?.value;
    const [format, log, next] = [fact("format"), fact("log"), fact("next")];
    if (format !== FORMAT || !(log instanceof Uint8Array) || typeof next !== "number") {
      throw new DamagedError(`${this.path} has not the format of this version`);
    }
    const sums = db
      .query<{ oldest: number | null; last: number | null; bytes: number | null }, []>(
        "SELECT min(first) AS oldest, max(last) AS last, sum(length(bytes)) AS bytes FROM batch",
      )
      .get();
    const after = sums?.last === null || sums === null ? next : Math.max(next, sums.last + 1);
    return {
      logId: new Uint8Array(log),
      oldest: sums?.oldest ?? after,
      next: after,
      bytes: sums?.bytes ?? 0,
    };
  }

  /** Sequence number of the oldest entry kept; equals `nextSeq` when none is. */
  get oldestSeq(): number {
    return this.#oldestSeq;
  }

  get nextSeq(): number {
    return this.#nextSeq;
  }

  /** Bytes of all entries kept. */
  get bytes(): number {
    return this.#bytes;
  }

  /**
   * Writes runs of entries; afterwards they survive the end of this process, and once synced that of
   * the machine. Deletes what is beyond the limits.
   * @param time milliseconds since 1970
   * @throws StorageError when nothing was written
   */
  append(runs: readonly Run[], time: number): void {
    const [oldestSeq, bytes] = [this.#oldestSeq, this.#bytes];
    try {
      attempt(this.path, () => this.#write(runs, time));
    } catch (error) {
      this.#oldestSeq = oldestSeq;
      this.#bytes = bytes;
      throw error;
    }
    this.#nextSeq = runs.at(-1)?.next ?? this.#nextSeq;
  }

  readonly #write: (runs: readonly Run[], time: number) => void;

  #insertRuns(runs: readonly Run[], time: number): void {
    for (const { first, next, bytes } of runs) {
      this.#insert.run(first, next - 1, time, Bun.hash.crc32(bytes), bytes);
      this.#bytes += bytes.length;
      this.#deleteCrowding(first, next);
    }
  }

  #deleteCrowding(first: number, next: number): void {
    const { bytes, entries } = this.#keep;
    for (;;) {
      const tooMuch = bytes > 0 && this.#bytes > bytes;
      if (!tooMuch && !(entries > 0 && next - this.#oldestSeq > entries)) return;
      const oldest = this.#oldest.get();
      // What has just come stays, however small the limits are, and so does half a batch too many.
      if (oldest === null || oldest.first === first) return;
      if (!tooMuch && next - oldest.last - 1 < entries) return;
      this.#drop(oldest);
    }
  }

  #drop(oldest: { first: number; last: number; size: number }): void {
    this.#delete.run(oldest.first);
    this.#bytes -= oldest.size;
    this.#oldestSeq = oldest.last + 1;
  }

  /** Deletes entries that are too old. @param now milliseconds since 1970 */
  expire(now: number): void {
    if (this.#keep.seconds === 0) return;
    attempt(this.path, () => {
      this.#db.transaction(() => {
        for (;;) {
          const oldest = this.#oldest.get();
          if (oldest === null || oldest.time >= now - this.#keep.seconds * 1000) return;
          // The log goes on with its numbers when all of it is gone.
          this.#db.run("UPDATE fact SET value = ? WHERE name = 'next'", [this.#nextSeq]);
          this.#drop(oldest);
        }
      })();
    });
  }

  /**
   * A page of history from entry `seq` on, or from the next one that is kept, and before entry
   * `end`: undefined when there is none. Damaged batches are dropped and passed over.
   */
  page(seq: number, end: number): Run | undefined {
    return attempt(this.path, () => {
      const parts: Run[] = [];
      const bad: Row[] = [];
      let bytes = 0;
      for (const row of this.#from.iterate(seq)) {
        if (row.last < seq) continue;
        if (row.first >= end) break;
        const run = checked(row);
        const before = parts.at(-1);
        // A page has no gaps: what comes after one is another page.
        if (before !== undefined && (run === undefined || run.first !== before.next)) break;
        if (run === undefined) {
          bad.push(row);
          continue;
        }
        parts.push(cut(run, seq, end));
        bytes += run.bytes.length;
        if (bytes >= PAGE_BYTES) break;
      }
      for (const row of bad) this.#dropDamaged(row);
      return joined(parts);
    });
  }

  #dropDamaged(row: Row): void {
    this.#damage(`entries ${row.first} to ${row.last} in ${this.path} are damaged and dropped`);
    this.#delete.run(row.first);
    this.#bytes -= row.bytes.length;
    if (row.first === this.#oldestSeq) this.#oldestSeq = row.last + 1;
  }

  /** Where the newest entries that fit into `bytes` bytes begin. */
  newest(bytes: number): number {
    return attempt(this.path, () => {
      let left = bytes;
      let first = this.#nextSeq;
      const rows = this.#db.query<{ first: number; size: number }, []>(
        "SELECT first, length(bytes) AS size FROM batch ORDER BY first DESC",
      );
      for (const row of rows.iterate()) {
        left -= row.size;
        if (left < 0) break;
        first = row.first;
      }
      return first;
    });
  }

  /** Calls back when all that has been appended so far is on the disk, or with what went wrong. */
  sync(done: (error: Error | null) => void): void {
    try {
      fdatasync(this.#walFile(), done);
    } catch (error) {
      done(error instanceof Error ? error : new Error(String(error)));
    }
  }

  /** The same at once. @throws StorageError */
  syncNow(): void {
    attempt(this.path, () => fdatasyncSync(this.#walFile()));
  }

  #walFile(): number {
    this.#wal ??= openSync(`${this.path}-wal`, "r+");
    return this.#wal;
  }

  /** SQLite syncs what it has written when the last connection is closed. */
  close(): void {
    if (this.#wal !== undefined) closeSync(this.#wal);
    this.#wal = undefined;
    this.#db.close();
  }
}

/** Runs something that uses the disk; its errors become those of this file. */
function attempt<T>(path: string, action: () => T): T {
  try {
    return action();
  } catch (error) {
    if (error instanceof DamagedError || error instanceof StorageError) throw error;
    const code = error instanceof Error && "code" in error ? String(error.code) : "";
    if (error instanceof SQLiteError && /CORRUPT|NOTADB|FORMAT|SCHEMA|SQLITE_ERROR/.test(code)) {
      throw new DamagedError(`${path} is damaged (${error.message})`);
    }
    const why = error instanceof Error ? error.message : String(error);
    throw new StorageError(`${path}: ${why}${code === "" ? "" : ` (${code})`}`);
  }
}

/** A batch whose bytes are those that were written and make whole frames in order. */
function checked(row: Row): Run | undefined {
  if (!(row.bytes instanceof Uint8Array) || Bun.hash.crc32(row.bytes) !== row.crc) return undefined;
  const run = asRun(row.first, row.bytes);
  return run?.next === row.last + 1 ? run : undefined;
}
