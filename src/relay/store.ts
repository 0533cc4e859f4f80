/** The folder of a relay that keeps its rooms: one file for each, so that none takes others down. */
import { Database } from "bun:sqlite";
import {
  chmodSync,
  closeSync,
  existsSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readdirSync,
  renameSync,
  rmSync,
  statSync,
} from "node:fs";
import { join } from "node:path";
import { ProtocolError } from "../protocol/errors.ts";
import type { Report } from "./report.ts";
import { DamagedError, type Keep, RoomFile, StorageError } from "./roomfile.ts";

/** When an entry is acknowledged (docs/operations.md, "How safe an entry is"). */
export const FSYNC_POLICIES = ["always", "second", "never"] as const;
export type FsyncPolicy = (typeof FSYNC_POLICIES)[number];

export interface StoreOptions {
  readonly folder: string;
  readonly fsync: FsyncPolicy;
  readonly keep: Keep;
  /** Rooms in the folder, at most. */
  readonly maxRooms: number;
}

/** The files beside a database that SQLite may leave. */
const COMPANIONS = ["", "-wal", "-shm", "-journal"];

export class Store {
  readonly fsync: FsyncPolicy;
  readonly #options: StoreOptions;
  readonly #rooms: string;
  readonly #report: Report;
  /** Held open for as long as this relay runs, so that no other one uses the folder. */
  readonly #lock: Database;
  /** Moves on with the machine's uptime: a clock that is set must not make entries old. */
  readonly #startedAt = Date.now() - performance.now();
  #files: number;

  /** @throws StorageError when the folder can't be used, with what to do about it */
  constructor(options: StoreOptions, report: Report) {
    this.#options = options;
    this.fsync = options.fsync;
    this.#report = report;
    this.#rooms = join(options.folder, "rooms");
    try {
      mkdirSync(this.#rooms, { recursive: true, mode: 0o700 });
      chmodSync(options.folder, 0o700);
      this.#lock = new Database(join(options.folder, "lock"), { create: true });
    } catch (error) {
      throw new StorageError(
        `can't use ${options.folder} for --data: ${error instanceof Error ? error.message : error}`,
      );
    }
    try {
      this.#lock.run("PRAGMA locking_mode = EXCLUSIVE");
      this.#lock.run("BEGIN EXCLUSIVE");
    } catch {
      this.#lock.close();
      throw new StorageError(`another relay uses ${options.folder}; give each its own --data`);
    }
    this.#files = this.#names().length;
    this.removeExpired();
  }

  #names(): string[] {
    return readdirSync(this.#rooms).filter((name) => /^[0-9a-f]{64}\.db$/.test(name));
  }

  /** Rooms in the folder. */
  get files(): number {
    return this.#files;
  }

  /** Milliseconds since 1970, on a clock that only rises while the relay runs. */
  now(): number {
    return this.#startedAt + performance.now();
  }

  path(key: string): string {
    return join(this.#rooms, `${key}.db`);
  }

  /** Whether something of a room is kept. */
  has(key: string): boolean {
    return existsSync(this.path(key));
  }

  /**
   * The file of a room, made where there is none. A damaged one is moved aside, named in the log,
   * and begun anew.
   * @param logId the log's name if it is made
   * @throws ProtocolError "rooms-full" or "storage"
   */
  open(key: string, logId: Uint8Array): RoomFile {
    const path = this.path(key);
    const isNew = !existsSync(path);
    if (isNew && this.#files >= this.#options.maxRooms) {
      throw new ProtocolError(
        "rooms-full",
        `this relay keeps ${this.#options.maxRooms} rooms already; try again later`,
      );
    }
    try {
      const file = this.#openOrReplace(path, logId);
      if (isNew) {
        this.#files += 1;
        // Its name must be on the disk as well as what is in it.
        syncFolder(this.#rooms);
      }
      file.expire(this.now());
      return file;
    } catch (error) {
      throw storageRefusal(error, this.#report);
    }
  }

  #openOrReplace(path: string, logId: Uint8Array): RoomFile {
    const damage = (what: string) => this.#report.problem(what);
    const make = () => new RoomFile(path, logId, this.#options.keep, damage);
    try {
      return make();
    } catch (error) {
      if (!(error instanceof DamagedError)) throw error;
      const aside = `${path}.damaged-${new Date().toISOString().replaceAll(":", "")}`;
      for (const companion of COMPANIONS) {
        if (existsSync(path + companion)) renameSync(path + companion, aside + companion);
      }
      this.#report.problem(`${error.message}; it is ${aside} now, and the room begins anew`);
      return make();
    }
  }

  /** Removes the files of rooms in which nothing has been written for longer than is kept. */
  removeExpired(inUse: (key: string) => boolean = () => false): void {
    const { seconds } = this.#options.keep;
    if (seconds === 0) return;
    for (const name of this.#names()) {
      const path = join(this.#rooms, name);
      const age = (time: number) => this.now() - time > seconds * 1000;
      if (inUse(name.slice(0, 64)) || !age(statSync(path).mtimeMs)) continue;
      const wal = `${path}-wal`;
      if (existsSync(wal) && !age(statSync(wal).mtimeMs)) continue;
      for (const companion of COMPANIONS) rmSync(path + companion, { force: true });
      this.#files -= 1;
    }
  }

  close(): void {
    this.#lock.close();
  }
}

function syncFolder(path: string): void {
  const folder = openSync(path, "r");
  try {
    fsyncSync(folder);
  } finally {
    closeSync(folder);
  }
}

/** What a client is told when the disk fails; the relay's log says more. */
export function storageRefusal(error: unknown, report: Report): ProtocolError {
  if (error instanceof ProtocolError) return error;
  report.problem(error instanceof Error ? error.message : String(error));
  return new ProtocolError("storage", "the relay can't store entries now; try again later");
}
