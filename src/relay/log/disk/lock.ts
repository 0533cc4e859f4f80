/** Keeps a second relay out of a folder. */
import { Database, SQLiteError } from "bun:sqlite";
import { chmodSync, mkdirSync } from "node:fs";
import { join } from "node:path";
import { reasonOf } from "../../../reason.ts";
import { StorageError } from "./store.ts";

/**
 * Makes a relay's folder where there is none, and takes it.
 * @param patience how long to wait for one that has not let go of it, in milliseconds
 * @returns what holds it until it is closed
 * @throws StorageError with what to do about it
 */
export function lockFolder(folder: string, patience: number): Database {
  let lock: Database | undefined;
  try {
    mkdirSync(join(folder, "rooms"), { recursive: true, mode: 0o700 });
    chmodSync(folder, 0o700);
    lock = new Database(join(folder, "lock"), { create: true });
    lock.run(`PRAGMA busy_timeout = ${patience}`);
    lock.run("PRAGMA locking_mode = EXCLUSIVE");
    lock.run("BEGIN EXCLUSIVE");
    return lock;
  } catch (error) {
    lock?.close(true);
    if (error instanceof SQLiteError && /BUSY|LOCKED/.test(error.code ?? "")) {
      throw new StorageError(`another relay uses ${folder}; give each its own --data`);
    }
    const why = reasonOf(error);
    throw new StorageError(`can't use ${folder} for --data: ${why}`);
  }
}
