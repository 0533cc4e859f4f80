/** The folder of a relay that keeps its rooms: one file for each, so that none takes others down. */
import type { Database } from "bun:sqlite";
import { existsSync, readdirSync, statSync } from "node:fs";
import { dirname, join } from "node:path";
import { ProtocolError } from "../../../protocol/errors.ts";
import { reasonOf } from "../../../reason.ts";
import type { Run } from "../run.ts";
import { attempt } from "./attempt.ts";
import type { FolderOptions } from "./calls.ts";
import { Catalog } from "./catalog.ts";
import { type Descriptors, folderSync } from "./descriptors.ts";
import { lockFolder } from "./lock.ts";
import { putAside, removeFile } from "./names.ts";
import { RoomFile, type RoomFileOptions } from "./roomfile.ts";
import { DamagedError, EXPIRE_ROOMS, StorageError } from "./store.ts";

export class Folder {
  readonly #options: FolderOptions;
  readonly #files: RoomFileOptions;
  readonly #report: (problem: string) => void;
  readonly #path: string;
  readonly #lock: Database;
  readonly #catalog: Catalog;
  readonly #descriptors: Descriptors;
  readonly #names: number;
  readonly #open = new Map<string, RoomFile>();
  /** What is being done to rooms as a whole: opened, closed, removed; one thing at a time each. */
  readonly #turns = new Map<string, Promise<unknown>>();
  #rooms: number;
  #ended = false;

  /**
   * @param patience how long to wait for a thread that has not let go of it, in milliseconds
   * @throws StorageError when the folder can't be used, with what to do about it
   */
  constructor(
    options: FolderOptions,
    descriptors: Descriptors,
    patience: number,
    report: (problem: string) => void,
  ) {
    const { folder, keep, fsync, boot } = options;
    this.#options = options;
    this.#descriptors = descriptors;
    this.#report = report;
    this.#path = join(folder, "rooms");
    this.#lock = lockFolder(folder, patience);
    try {
      const names = readdirSync(this.#path).filter((name) => /^[0-9a-f]{64}\.db$/.test(name));
      this.#rooms = names.length;
      this.#catalog = new Catalog(
        join(folder, "catalog"),
        names.map((name) => name.slice(0, 64)),
      );
      this.#names = descriptors.open(this.#path);
    } catch (error) {
      this.#lock.close();
      const why = reasonOf(error);
      throw new StorageError(`can't use ${folder} for --data: ${why}`);
    }
    const syncFolder = () => folderSync(this.#names);
    this.#files = { keep, fsync, boot, descriptors, patience, syncFolder, report };
  }

  /** Rooms in it. */
  get rooms(): number {
    return this.#rooms;
  }

  #pathOf(key: string): string {
    return join(this.#path, `${key}.db`);
  }

  /** Runs something when what was begun with this room before has ended. */
  async #inTurn<T>(key: string, action: () => Promise<T>): Promise<T> {
    const before = this.#turns.get(key) ?? Promise.resolve();
    const turn = before.catch(() => undefined).then(action);
    this.#turns.set(key, turn);
    try {
      return await turn;
    } finally {
      if (this.#turns.get(key) === turn) this.#turns.delete(key);
    }
  }

  /** The catalog is a help: without it rooms are as they were, and some grow too old. */
  #note(action: () => void): void {
    try {
      action();
    } catch (error) {
      const why = reasonOf(error);
      this.#report(`${join(this.#options.folder, "catalog")}: ${why}`);
    }
  }

  /** As Store's `find` says. */
  find(
    key: string,
    bytes: number,
  ): Promise<{ file: RoomFile; newest: readonly Run[] } | undefined> {
    return this.#inTurn(key, async () => {
      this.#mayOpen(key);
      const path = this.#pathOf(key);
      if (!this.#isThere(path)) return undefined;
      let file: RoomFile | undefined;
      try {
        file = RoomFile.open(path, this.#files);
        if (file === undefined) {
          this.#removeRoom(key);
          return undefined;
        }
        await file.settle();
        const newest = file.newest(bytes);
        this.#open.set(key, file);
        this.#note(() => this.#catalog.opened(key));
        return { file, newest };
      } catch (error) {
        await file?.dispose();
        if (!(error instanceof DamagedError)) throw error;
        await this.#putAside(key, error);
        return undefined;
      }
    });
  }

  /**
   * Whether a room's file is there. That it can't be seen is another thing than that it isn't.
   * @throws StorageError
   */
  #isThere(path: string): boolean {
    return attempt(path, () => {
      if (statSync(path, { throwIfNoEntry: false }) !== undefined) return true;
      // Without the folder nothing can be said of what was in it.
      statSync(dirname(path));
      return false;
    });
  }

  #mayOpen(key: string): void {
    if (this.#ended) throw new Error("the folder is closed");
    if (this.#open.has(key)) throw new Error(`${this.#pathOf(key)} is open already`);
  }

  /** As Store's `create` says. */
  create(key: string, logId: Uint8Array): Promise<RoomFile> {
    return this.#inTurn(key, async () => {
      this.#mayOpen(key);
      if (this.#rooms >= this.#options.maxRooms) {
        throw new ProtocolError(
          "rooms-full",
          `this relay keeps ${this.#options.maxRooms} rooms already; try again later`,
        );
      }
      const file = RoomFile.make(this.#pathOf(key), logId, this.#files);
      this.#rooms += 1;
      this.#open.set(key, file);
      this.#note(() => this.#catalog.opened(key));
      return file;
    });
  }

  /**
   * Does something with an open file. One that turns out to be damaged is closed and put aside.
   * @throws what `action` throws
   */
  async use<T>(key: string, file: RoomFile, action: () => Promise<T>): Promise<T> {
    try {
      return await action();
    } catch (error) {
      if (error instanceof DamagedError) await this.#retire(key, file, error);
      throw error;
    }
  }

  #retire(key: string, file: RoomFile, error: DamagedError): Promise<void> {
    return this.#inTurn(key, async () => {
      // Several calls may have met it.
      if (this.#open.get(key) !== file) return;
      this.#open.delete(key);
      await this.#dispose(file);
      await this.#putAside(key, error);
    });
  }

  async #dispose(file: RoomFile): Promise<void> {
    try {
      await file.dispose();
    } catch (error) {
      this.#report(`${file.path}: ${reasonOf(error)}`);
    }
  }

  /** @throws StorageError when it can't be put aside */
  async #putAside(key: string, error: DamagedError): Promise<void> {
    const path = this.#pathOf(key);
    const aside = attempt(path, () => putAside(path));
    this.#forget(key);
    this.#report(`${error.message}; it is ${aside} now, and the room begins anew`);
    await folderSync(this.#names).catch(() => undefined);
  }

  #removeRoom(key: string): void {
    const path = this.#pathOf(key);
    attempt(path, () => removeFile(path));
    this.#forget(key);
  }

  #forget(key: string): void {
    this.#rooms -= 1;
    this.#note(() => this.#catalog.remove(key));
  }

  /** Closes an open file; says what went wrong in the relay's log. */
  close(key: string, file: RoomFile): Promise<void> {
    return this.#inTurn(key, async () => {
      if (this.#open.get(key) !== file) return;
      let time = 0;
      try {
        time = attempt(file.path, () => file.newestTime);
        await file.close();
      } catch (error) {
        await this.#dispose(file);
        if (error instanceof DamagedError) {
          this.#open.delete(key);
          await this.#putAside(key, error);
          return;
        }
        this.#report(reasonOf(error));
      } finally {
        this.#open.delete(key);
      }
      this.#note(() => this.#catalog.closed(key, time));
    });
  }

  /** As Store's `expire` says. */
  async expire(now: number): Promise<void> {
    const { seconds } = this.#options.keep;
    if (seconds === 0) return;
    const limit = now - seconds * 1000;
    let keys: string[] = [];
    this.#note(() => {
      keys = this.#catalog.before(limit, EXPIRE_ROOMS);
    });
    for (const key of keys) {
      if (this.#ended) return;
      try {
        await this.#inTurn(key, () => this.#expireRoom(key, limit));
      } catch (error) {
        this.#report(reasonOf(error));
        // It is looked at again later, so that it is not in the way of others.
        this.#note(() => this.#catalog.closed(key, now));
      }
      // Rooms that are open go on meanwhile.
      await new Promise((resolve) => setImmediate(resolve));
    }
  }

  /** Removes a room if all in it is older than `limit`. */
  async #expireRoom(key: string, limit: number): Promise<void> {
    if (this.#ended || this.#open.has(key)) return;
    const path = this.#pathOf(key);
    if (!existsSync(path)) {
      this.#note(() => this.#catalog.remove(key));
      return;
    }
    let file: RoomFile | undefined;
    try {
      file = RoomFile.open(path, this.#files);
      const isOld = file === undefined || !file.hasSince(limit);
      // The room's last entries may be older than some before them, after a clock was set.
      const time = Math.max(file?.newestTime ?? 0, isOld ? 0 : limit);
      if (isOld) await file?.dispose();
      else await file?.close();
      if (isOld) this.#removeRoom(key);
      else this.#note(() => this.#catalog.closed(key, time));
    } catch (error) {
      if (file !== undefined) await this.#dispose(file);
      if (!(error instanceof DamagedError)) throw error;
      await this.#putAside(key, error);
    }
  }

  /** Closes every file, and lets another relay have the folder. */
  async end(): Promise<void> {
    this.#ended = true;
    await Promise.all([...this.#open].map(([key, file]) => this.close(key, file)));
    await Promise.allSettled(this.#turns.values());
    this.#note(() => this.#catalog.close());
    this.#descriptors.close(this.#names);
    this.#lock.close(true);
  }
}
