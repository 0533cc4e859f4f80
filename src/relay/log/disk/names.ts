/** The names of a room's files. */
import { existsSync, renameSync, rmSync } from "node:fs";

/** What SQLite may leave beside a database, and the database last: without it the rest is nothing. */
const COMPANIONS = ["-wal", "-shm", "-journal", ""];

/** Takes a database away, with what is beside it. @throws Error of the system */
export function removeFile(path: string): void {
  for (const companion of COMPANIONS) rmSync(path + companion, { force: true });
}

/**
 * Puts a damaged database aside, with what is beside it, for whoever wants to get out what there is.
 * @returns where it is now
 * @throws Error of the system
 */
export function putAside(path: string): string {
  const name = `${path}.damaged-${new Date().toISOString().replaceAll(":", "")}`;
  let aside = name;
  for (let i = 2; existsSync(aside); i++) aside = `${name}-${i}`;
  for (const companion of COMPANIONS) {
    if (existsSync(path + companion)) renameSync(path + companion, aside + companion);
  }
  return aside;
}
