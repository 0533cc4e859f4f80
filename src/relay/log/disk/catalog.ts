/**
 * When rooms were last written, so that the old ones are found without opening all of them. What it says
 * is a hint: a room's own file decides. It is made anew from the folder's names where it is not there,
 * or not as it was.
 */
import { Database, type Statement } from "bun:sqlite";
import { removeFile } from "./names.ts";

export class Catalog {
  readonly #db: Database;
  readonly #statements: Statement[] = [];
  readonly #set: Statement;
  readonly #remove: Statement;
  readonly #before: Statement<{ key: string }, [number, number]>;

  /** @throws Error when there can be none */
  constructor(path: string, keys: readonly string[]) {
    try {
      this.#db = open(path);
    } catch {
      removeFile(path);
      this.#db = open(path);
    }
    this.#set = this.#prepare("INSERT OR REPLACE INTO room VALUES (?, ?)");
    this.#remove = this.#prepare("DELETE FROM room WHERE key = ?");
    this.#before = this.#prepare("SELECT key FROM room WHERE newest < ? ORDER BY newest LIMIT ?");
    this.#reconcile(new Set(keys));
  }

  #prepare<R, P extends (string | number | null)[]>(sql: string): Statement<R, P> {
    const statement = this.#db.prepare<R, P>(sql) as Statement<R, P>;
    this.#statements.push(statement);
    return statement;
  }

  /** As the folder is. A room that was open when the last relay ended may be of any age. */
  #reconcile(keys: ReadonlySet<string>): void {
    this.#db.run("BEGIN");
    this.#db.run("UPDATE room SET newest = 0 WHERE newest IS NULL");
    const known = this.#prepare<{ key: string }, []>("SELECT key FROM room").all();
    const missing = new Set(keys);
    for (const { key } of known) {
      if (!missing.delete(key)) this.#remove.run(key);
    }
    for (const key of missing) this.#set.run(key, 0);
    this.#db.run("COMMIT");
  }

  /** A room is open: it is not to be looked at. */
  opened(key: string): void {
    this.#set.run(key, null);
  }

  /** @param time when a room was last written, in milliseconds since 1970 */
  closed(key: string, time: number): void {
    this.#set.run(key, time);
  }

  remove(key: string): void {
    this.#remove.run(key);
  }

  /** Rooms that are not open and may not have been written since `time`, the oldest first. */
  before(time: number, count: number): string[] {
    return this.#before.all(time, count).map(({ key }) => key);
  }

  close(): void {
    for (const statement of this.#statements) statement.finalize();
    this.#db.close(true);
  }
}

/** @throws Error for one that is not as it was written */
function open(path: string): Database {
  const db = new Database(path, { create: true, strict: true });
  try {
    for (const sql of [
      "PRAGMA locking_mode = EXCLUSIVE",
      "PRAGMA synchronous = OFF",
      "PRAGMA journal_mode = WAL",
      "CREATE TABLE IF NOT EXISTS room (key TEXT PRIMARY KEY, newest INTEGER) WITHOUT ROWID",
      "CREATE INDEX IF NOT EXISTS age ON room (newest)",
    ]) {
      db.run(sql);
    }
    const check = db.prepare<{ quick_check: string }, []>("PRAGMA quick_check(1)");
    const says = check.get()?.quick_check;
    check.finalize();
    if (says !== "ok") throw new Error(says);
    return db;
  } catch (error) {
    db.close(true);
    throw error;
  }
}
