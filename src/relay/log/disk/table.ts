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
/** Rows that are looked at in one go. */
const ROWS = 256;

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

export class Table {
  readonly #path: string;
  readonly #db: Database;
  readonly #statements: Statement[] = [];
  readonly #begin: Statement;
  readonly #commit: Statement;
  readonly #rollback: Statement;
  readonly #checkpoint: Statement;
  #facts!: Statement<{ value: unknown }, [string]>;
  #setFact!: Statement;
  #unsetFact!: Statement;
  #insert!: Statement;
  #delete!: Statement;
  #oldest!: Statement<Extent, []>;
  #newest!: Statement<Extent, []>;
  #from!: Statement<Extent, [number]>;
  #before!: Statement<Extent, [number]>;
  #rows!: Statement<Row, [number, number]>;
  #bytes!: Statement<{ bytes: number | null }, []>;
  #since!: Statement<{ found: number }, [number]>;

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
        "journal_mode = WAL",
        "synchronous = OFF",
        "wal_autocheckpoint = 0",
      ]) {
        this.#db.run(`PRAGMA ${pragma}`);
      }
      this.#begin = this.#prepare("BEGIN IMMEDIATE");
      this.#commit = this.#prepare("COMMIT");
      this.#rollback = this.#prepare("ROLLBACK");
      this.#checkpoint = this.#prepare("PRAGMA wal_checkpoint(PASSIVE)");
    } catch (error) {
      this.close();
      throw error;
    }
  }

  #prepare<R, P extends (string | number)[]>(sql: string): Statement<R, P> {
    const statement = this.#db.prepare<R, P>(sql);
    this.#statements.push(statement);
    return statement;
  }

  /** Whether there is nothing in it: whoever made it did not come to an end. */
  get empty(): boolean {
    const tables = this.#prepare<{ count: number }, []>(
      "SELECT count(*) AS count FROM sqlite_master",
    );
    return tables.get()?.count === 0;
  }

  /** Makes the tables. */
  create(logId: Uint8Array): void {
    this.transaction(() => {
      this.#db.run("CREATE TABLE fact (name TEXT PRIMARY KEY, value) WITHOUT ROWID");
      this.#db.run(
        "CREATE TABLE batch (first INTEGER PRIMARY KEY, last INTEGER, time INTEGER, crc INTEGER, bytes BLOB)",
      );
      const add = this.#prepare("INSERT INTO fact VALUES (?, ?)");
      add.run("format", FORMAT);
      add.run("log", logId);
      add.run("next", 1);
    });
  }

  /** Prepares what is run on the tables. @throws DamagedError for a file that is not of this format */
  use(): void {
    this.#facts = this.#prepare("SELECT value FROM fact WHERE name = ?");
    this.#setFact = this.#prepare("INSERT OR REPLACE INTO fact VALUES (?, ?)");
    this.#unsetFact = this.#prepare("DELETE FROM fact WHERE name = ?");
    this.#insert = this.#prepare(
      "INSERT INTO batch (first, last, time, crc, bytes) VALUES (?, ?, ?, ?, ?)",
    );
    this.#delete = this.#prepare("DELETE FROM batch WHERE first = ?");
    this.#oldest = this.#prepare(`${EXTENT} ORDER BY first LIMIT 1`);
    this.#newest = this.#prepare(`${EXTENT} ORDER BY first DESC LIMIT 1`);
    this.#from = this.#prepare(
      `${EXTENT} WHERE first >= coalesce((SELECT max(first) FROM batch WHERE first <= ?1), ?1)
       ORDER BY first LIMIT ${ROWS}`,
    );
    this.#before = this.#prepare(`${EXTENT} WHERE first < ?1 ORDER BY first DESC LIMIT ${ROWS}`);
    this.#rows = this.#prepare(
      "SELECT first, last, crc, bytes FROM batch WHERE first BETWEEN ?1 AND ?2 ORDER BY first",
    );
    this.#bytes = this.#prepare("SELECT sum(length(bytes)) AS bytes FROM batch");
    this.#since = this.#prepare("SELECT 1 AS found FROM batch WHERE time >= ? LIMIT 1");
    if (this.fact("format") !== FORMAT) {
      throw new DamagedError(`${this.#path} has not the format of this version`);
    }
  }

  fact(name: string): unknown {
    return this.#facts.get(name)?.value;
  }

  /** Sets a fact, or with undefined takes it out. */
  setFact(name: string, value: string | number | Uint8Array | undefined): void {
    if (value === undefined) this.#unsetFact.run(name);
    else this.#setFact.run(name, value);
  }

  add(first: number, last: number, time: number, crc: number, bytes: Uint8Array): void {
    this.#insert.run(first, last, time, crc, bytes);
  }

  remove(first: number): void {
    this.#delete.run(first);
  }

  get oldest(): Extent | undefined {
    return this.#oldest.get() ?? undefined;
  }

  get newest(): Extent | undefined {
    return this.#newest.get() ?? undefined;
  }

  /** Batches from the one with entry `seq` on, or the next there is; some of them. */
  from(seq: number): Extent[] {
    return this.#from.all(seq);
  }

  /** Batches before the one that begins with entry `seq`, the newest first; some of them. */
  before(seq: number): Extent[] {
    return this.#before.all(seq);
  }

  /** Batches whose first entries lie from `low` to `high`. */
  rows(low: number, high: number): Row[] {
    return this.#rows.all(low, high);
  }

  /** Bytes of all entries. */
  get bytes(): number {
    return this.#bytes.get()?.bytes ?? 0;
  }

  /** Whether anything was written at this time, in milliseconds since 1970, or later. */
  hasSince(time: number): boolean {
    return this.#since.get(time) !== null;
  }

  /** All that `action` changes, or nothing. */
  transaction(action: () => void): void {
    this.#begin.run();
    try {
      action();
      this.#commit.run();
    } catch (error) {
      // Where the disk fails SQLite has taken it back already.
      if (this.#db.inTransaction) this.#rollback.run();
      throw error;
    }
  }

  /** Takes what is in the write-ahead log over into the database; the log must be on the disk. */
  checkpoint(): void {
    this.#checkpoint.all();
  }

  /** Lets go of the file. */
  close(): void {
    for (const statement of this.#statements) statement.finalize();
    this.#db.close(true);
  }
}
