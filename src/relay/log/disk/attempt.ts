/** Errors of SQLite and of the system, as the relay tells them apart. */
import { SQLiteError } from "bun:sqlite";
import { reasonOf } from "../../../reason.ts";
import { DamagedError, StorageError } from "./store.ts";

/** What SQLite says of a file that is not what it wrote. */
const DAMAGE = /CORRUPT|NOTADB|FORMAT|SHORT_READ/;
/** And of one that it wrote, with other tables in it than are looked for. */
const FOREIGN = /SQLITE_ERROR|SCHEMA|CONSTRAINT|MISMATCH/;

/**
 * Runs something that uses the disk.
 * @throws DamagedError, StorageError, and nothing else
 */
export function attempt<T>(path: string, action: () => T): T {
  try {
    return action();
  } catch (error) {
    throw storageFault(path, error);
  }
}

function storageFault(path: string, error: unknown): Error {
  if (error instanceof DamagedError || error instanceof StorageError) return error;
  const why = reasonOf(error);
  const code = error instanceof Error && "code" in error ? String(error.code) : "";
  if (error instanceof SQLiteError && (DAMAGE.test(code) || FOREIGN.test(code))) {
    return new DamagedError(`${path} is damaged (${why})`);
  }
  return new StorageError(`${path}: ${why}${code === "" ? "" : ` (${code})`}`);
}
