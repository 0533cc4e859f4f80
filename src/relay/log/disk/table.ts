/**
 * A room's database: table `fact` and table `batch` (docs/operations.md, "What is in the folder"), and the
 * statements that are run on them. Every statement is kept here, so that none is left when it is closed:
 * SQLite would keep the file open.
 */
import { Database, type Statement } from "bun:sqlite";
import { DamagedError } from "./store.ts";

const FORMAT = 1;
/**
 * For new files, in bytes. Large enough that a batch of 32 KiB is few pages, small enough that one of a
 * few bytes, which is a page in the write-ahead log too, is little to write.
 */
export const PAGE_SIZE = 8192;
/** Of its pages that are held in memory, in KiB: the kernel has them all, and there are many rooms. */
const CACHE_KIB = 256;
type Value = string | number | Uint8Array;

export interface Row {
  readonly first: number;
  readonly last: unknown;
  readonly crc: unknown;
  readonly bytes: unknown;
}

export interface Extent {
  readonly first: number;
  readonly last: unknown;
  readonly time: unknown;
  /** Bytes. */
  readonly size: number | null;
}

const EXTENT = "SELECT first, last, time, length(bytes) AS size FROM batch";
/** Extents that are looked at in one go. */
const SOME = "LIMIT 256";
const OLDEST = `${EXTENT} ORDER BY first LIMIT 1`;
const NEWEST = `${EXTENT} ORDER BY first DESC LIMIT 1`;
const FROM = `${EXTENT}
  WHERE first >= coalesce((SELECT max(first) FROM batch WHERE first <= ?1), ?1) ORDER BY first ${SOME}`;
const BEFORE = `${EXTENT} WHERE first < ?1 ORDER BY first DESC ${SOME}`;
const ROWS = `SELECT first, last, crc, bytes FROM batch
  WHERE first BETWEEN ?1 AND ?2 ORDER BY first`;

export class Table {
  readonly #path: string;
  readonly #db: Database;
  /** By their text: prepared when they are first needed, since many rooms need few of them. */
  readonly #statements = new Map<string, Statement>();

  /**
   * Opens a database that is there. It must be closed, whatever is thrown later.
   * @param patience how long to wait for one that has not let go of it, in milliseconds
   * @throws Error of SQLite
   */
  constructor(path: string, patience: number) {
    this.#path = path;
    this.#db = new Database(path, { readwrite: true, create: false, strict: true });
    try {
      // Nobody else opens it, so that no shared memory is needed. Nothing here waits for the disk: what
      // must be on it is synced by roomfile.ts, and checkpoints are made when that has been done.
      for (const pragma of [
        `busy_timeout = ${patience}`,
        `page_size = ${PAGE_SIZE}`,
        "locking_mode = EXCLUSIVE",
        "synchronous = OFF",
        "journal_mode = WAL",
        "wal_autocheckpoint = 0",
        `cache_size = -${CACHE_KIB}`,
      ]) {
        this.#db.run(`PRAGMA ${pragma}`);
      }
    } catch (error) {
      this.close();
      throw error;
    }
  }

  #run<R, P extends Value[]>(sql: string): Statement<R, P> {
    const known = this.#statements.get(sql);
    if (known !== undefined) return known as Statement<R, P>;
    const statement = this.#db.prepare<R, P>(sql) as Statement<R, P>;
    this.#statements.set(sql, statement);
    return statement;
  }

  /** Whether there is nothing in it: whoever made it did not come to an end. */
  get empty(): boolean {
    const sql = "SELECT count(*) AS count FROM sqlite_master";
    return this.#run<{ count: number }, []>(sql).get()?.count === 0;
  }

  /** Makes the tables. */
  create(logId: Uint8Array): void {
    this.transaction(() => {
      this.#db.run("CREATE TABLE fact (name TEXT PRIMARY KEY, value) WITHOUT ROWID");
      this.#db.run(
        "CREATE TABLE batch (first INTEGER PRIMARY KEY, last INTEGER, time INTEGER, crc INTEGER, bytes BLOB)",
      );
      this.setFact("format", FORMAT);
      this.setFact("log", logId);
      this.setFact("next", 1);
    });
  }

  /** @throws DamagedError for a file that is not of this format */
  check(): void {
    if (this.fact("format") !== FORMAT) {
      throw new DamagedError(`${this.#path} has not the format of this version`);
    }
  }

  fact(name: string): unknown {
    const sql = "SELECT value FROM fact WHERE name = ?";
    return this.#run<{ value: unknown }, [string]>(sql).get(name)?.value;
  }

  /** Sets a fact, or with undefined takes it out. */
  setFact(name: string, value: Value | undefined): void {
    if (value === undefined) this.#run("DELETE FROM fact WHERE name = ?").run(name);
    else this.#run("INSERT OR REPLACE INTO fact VALUES (?, ?)").run(name, value);
  }

  add(first: number, last: number, time: number, crc: number, bytes: Uint8Array): void {
    const sql = "INSERT INTO batch (first, last, time, crc, bytes) VALUES (?, ?, ?, ?, ?)";
    this.#run(sql).run(first, last, time, crc, bytes);
  }

  remove(first: number): void {
    this.#run("DELETE FROM batch WHERE first = ?").run(first);
  }

  get oldest(): Extent | undefined {
    return this.#run<Extent, []>(OLDEST).get() ?? undefined;
  }

  get newest(): Extent | undefined {
    return this.#run<Extent, []>(NEWEST).get() ?? undefined;
  }

  /** Batches from the one with entry `seq` on, or the next there is; some of them. */
  from(seq: number): Extent[] {
    return this.#run<Extent, [number]>(FROM).all(seq);
  }

  /** Batches before the one that begins with entry `seq`, the newest first; some of them. */
  before(seq: number): Extent[] {
    return this.#run<Extent, [number]>(BEFORE).all(seq);
  }

  /** Batches whose first entries lie from `low` to `high`. */
  rows(low: number, high: number): Row[] {
    return this.#run<Row, [number, number]>(ROWS).all(low, high);
  }

  /** Bytes of all entries. */
  get bytes(): number {
    const sql = "SELECT sum(length(bytes)) AS bytes FROM batch";
    return this.#run<{ bytes: number | null }, []>(sql).get()?.bytes ?? 0;
  }

  /** Whether anything was written at this time, in milliseconds since 1970, or later. */
  hasSince(time: number): boolean {
    const sql = "SELECT 1 AS found FROM batch WHERE time >= ? LIMIT 1";
    return this.#run<{ found: number }, [number]>(sql).get(time) !== null;
  }

  /** All that `action` changes, or nothing. */
  transaction(action: () => void): void {
    this.#run("BEGIN IMMEDIATE").run();
    try {
      action();
      this.#run("COMMIT").run();
    } catch (error) {
      // Where the disk fails SQLite has taken it back already.
      if (this.#db.inTransaction) this.#run("ROLLBACK").run();
      throw error;
    }
  }

  /** Takes what is in the write-ahead log over into the database; the log must be on the disk. */
  checkpoint(): void {
    this.#run("PRAGMA wal_checkpoint(PASSIVE)").all();
  }

  /** Lets go of the file. */
  close(): void {
    for (const statement of this.#statements.values()) statement.finalize();
    this.#db.close(true);
  }
}
