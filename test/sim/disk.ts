/**
 * The simulator's disk: a folder of rooms in memory that goes wrong as disks do, in simulated time. It
 * keeps what SqliteStore promises, and passes the same suite (test/contract/disk.ts).
 */
import { ProtocolError } from "../../src/protocol/errors.ts";
import {
  DamagedError,
  EXPIRE_ROOMS,
  type FsyncPolicy,
  type Keep,
  type Kept,
  PAGE_BYTES,
  type RoomFile,
  StorageError,
  type Store,
} from "../../src/relay/log/disk/store.ts";
import { cut, joined, type Run } from "../../src/relay/log/run.ts";
import { fraction, type Runtime } from "../../src/runtime.ts";

/** States that are not on the disk yet, of one room: older ones the kernel has written by itself. */
const UNSYNCED = 64;

interface Batch {
  readonly run: Run;
  /** Milliseconds since 1970. */
  readonly time: number;
  /** Set from outside, and found when it is read. */
  damaged: boolean;
}

/** What is kept of a room, at one moment. */
interface State {
  readonly logId: Uint8Array;
  readonly next: number;
  readonly batches: readonly Batch[];
  /** The machine's run in which entries may have been shown that the disk has not got. */
  readonly mark: number | undefined;
}

/** A room's file. */
class SimRoom {
  /** What survives the machine's end; undefined for nothing. */
  synced: State | undefined;
  /** What was written since, the newest last. */
  written: State[] = [];
  /** The file as a whole is damaged. */
  ruined = false;

  get state(): State | undefined {
    return this.written.at(-1) ?? this.synced;
  }

  write(state: State): void {
    this.written.push(state);
    if (this.written.length > UNSYNCED) this.synced = this.written.shift();
  }

  /** All up to this state is on the disk. */
  sync(state: State | undefined): void {
    const at = state === undefined ? -1 : this.written.indexOf(state);
    if (at < 0) return;
    this.synced = state;
    this.written.splice(0, at + 1);
  }
}

/** The folder and what is wrong with it. It outlives the relay's process. */
export class SimDisk {
  readonly rooms = new Map<string, SimRoom>();
  /** How long half a call takes, at least and at most, in milliseconds. */
  latency: readonly [number, number] = [0, 0];
  /** Probabilities, from 0 to 1: an append does nothing and says so; does it or not, and nobody knows. */
  appendFails = 0;
  appendUnknown = 0;
  /** That a sync fails. */
  syncFails = 0;
  /** It takes nothing more. */
  full = false;
  /** The machine's run. */
  boot = 1;
  /** The relay's process that has the folder. */
  holder: SimStore | undefined;
  readonly #runtime: Runtime;
  #hanging: { readonly ends: Promise<void>; end(): void } | undefined;

  constructor(runtime: Runtime) {
    this.#runtime = runtime;
  }

  /** The relay's process dies: what was written stays, its calls are never answered. */
  kill(): void {
    this.holder?.die();
    this.holder = undefined;
  }

  /** The machine dies: of each room a part of what was written last is lost, and all or none of it. */
  powerCut(): void {
    this.kill();
    this.boot += 1;
    for (const [key, room] of this.rooms) {
      const kept = Math.floor(fraction(this.#runtime) * (room.written.length + 1));
      room.sync(room.written[kept - 1]);
      room.written = [];
      if (room.synced === undefined) this.rooms.delete(key);
    }
  }

  /** A batch of the room is damaged: any, or the newest, or the oldest. @returns false for none */
  damage(key: string, which: "any" | "newest" | "oldest" = "any"): boolean {
    const batches = this.rooms.get(key)?.state?.batches ?? [];
    const any = Math.floor(fraction(this.#runtime) * batches.length);
    const batch = batches.at(which === "any" ? any : which === "newest" ? -1 : 0);
    if (batch !== undefined) batch.damaged = true;
    return batch !== undefined;
  }

  /** The room's file is damaged as a whole. */
  ruin(key: string): void {
    const room = this.rooms.get(key);
    if (room !== undefined) room.ruined = true;
  }

  /** Calls are neither done nor answered until `resume`. */
  hang(): void {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#hanging ??= { ends: promise, end: resolve };
  }

  resume(): void {
    this.#hanging?.end();
    this.#hanging = undefined;
  }

  happens(probability: number): boolean {
    return probability > 0 && fraction(this.#runtime) < probability;
  }

  /** Half of a call goes by. */
  async pass(): Promise<void> {
    const [least, most] = this.latency;
    const wait = least + fraction(this.#runtime) * (most - least);
    const { clock } = this.#runtime;
    await new Promise<void>((resolve) => {
      if (wait > 0) clock.after(wait, resolve);
      else clock.soon(resolve);
    });
    while (this.#hanging !== undefined) await this.#hanging.ends;
  }
}

export interface SimStoreOptions {
  readonly fsync: FsyncPolicy;
  readonly keep: Keep;
  readonly maxRooms: number;
  /** Told what the relay's log would be told. */
  readonly report?: (problem: string) => void;
}

export class SimStore implements Store {
  readonly fsync: FsyncPolicy;
  readonly keep: Keep;
  readonly disk: SimDisk;
  readonly #runtime: Runtime;
  readonly #options: SimStoreOptions;
  readonly #open = new Map<string, SimFile>();
  /** The end of what was begun last with each room: calls are done, and answered, in order. */
  readonly #done = new Map<string, Promise<unknown>>();
  readonly #answered = new Map<string, Promise<unknown>>();
  #dead = false;
  #closed = false;

  /** @throws StorageError when another relay has the folder */
  constructor(runtime: Runtime, options: SimStoreOptions, disk: SimDisk) {
    if (disk.holder !== undefined) {
      throw new StorageError("another relay uses this disk; give each its own --data");
    }
    disk.holder = this;
    this.#runtime = runtime;
    this.#options = options;
    this.disk = disk;
    this.fsync = options.fsync;
    this.keep = options.keep;
  }

  get rooms(): number {
    return this.disk.rooms.size;
  }

  report(problem: string): void {
    this.#options.report?.(problem);
  }

  /** The process is gone: nothing is done or answered any more. */
  die(): void {
    this.#dead = true;
  }

  /** Does something with a room after what was begun before, and answers after that. */
  async call<T>(key: string, action: () => T): Promise<T> {
    if (this.#closed) throw new Error("the folder is closed");
    const done = this.#after(this.#done, key, async () => {
      await this.#pass();
      return action();
    });
    return await this.#after(this.#answered, key, async () => {
      try {
        return await done;
      } finally {
        await this.#pass();
      }
    });
  }

  async #pass(): Promise<void> {
    if (!this.#dead) await this.disk.pass();
    // Of a process that is gone nothing goes on.
    if (this.#dead) await new Promise<never>(() => undefined);
  }

  #after<T>(chain: Map<string, Promise<unknown>>, key: string, action: () => Promise<T>) {
    const next = (chain.get(key) ?? Promise.resolve()).then(action, action);
    chain.set(key, next);
    // Who called is told; the chain goes on either way.
    next.catch(() => undefined);
    return next;
  }

  find(key: string, bytes: number): Promise<RoomFile | undefined> {
    return this.call(key, () => {
      const room = this.disk.rooms.get(key);
      if (this.#open.has(key)) throw new Error(`${key} is open already`);
      if (room?.state === undefined) return undefined;
      if (room.ruined) {
        this.#putAside(key);
        return undefined;
      }
      this.#survive(room, room.state);
      // What is shown is on the disk, with "always" and after a process that didn't close it.
      room.sync(room.state);
      return this.#opened(key, new SimFile(this, key, room, bytes));
    });
  }

  /** Entries that were shown may be lost: the log goes on under a new id. */
  #survive(room: SimRoom, state: State): void {
    const { mark } = state;
    if (mark === undefined || (mark === this.disk.boot && this.fsync !== "always")) return;
    const isOther = mark !== this.disk.boot;
    const logId = isOther ? this.#runtime.random(new Uint8Array(state.logId.length)) : state.logId;
    room.write({ ...state, logId, mark: undefined });
  }

  create(key: string, logId: Uint8Array): Promise<RoomFile> {
    return this.call(key, () => {
      const { maxRooms } = this.#options;
      if (this.disk.rooms.size >= maxRooms) {
        const why = `this relay keeps ${maxRooms} rooms already; try again later`;
        throw new ProtocolError("rooms-full", why);
      }
      if (this.disk.rooms.has(key)) throw new Error(`${key} is there already`);
      if (this.disk.full) throw new StorageError(`${key}: the disk is full`);
      const room = new SimRoom();
      room.write({ logId: logId.slice(), next: 1, batches: [], mark: undefined });
      this.disk.rooms.set(key, room);
      return this.#opened(key, new SimFile(this, key, room, 0));
    });
  }

  #opened(key: string, file: SimFile): SimFile {
    this.#open.set(key, file);
    return file;
  }

  closed(key: string, file: SimFile): void {
    if (this.#open.get(key) === file) this.#open.delete(key);
  }

  /** A file that is damaged as a whole. */
  retire(key: string, file: SimFile): void {
    if (this.#open.get(key) !== file) return;
    this.#open.delete(key);
    this.#putAside(key);
  }

  #putAside(key: string): void {
    this.disk.rooms.delete(key);
    this.report(`${key} is damaged; it is ${key}.damaged now, and the room begins anew`);
  }

  async expire(now: number): Promise<void> {
    if (this.#closed) throw new Error("the folder is closed");
    const { seconds } = this.keep;
    if (seconds === 0) return;
    const isOld = (room: SimRoom | undefined) =>
      (room?.state?.batches ?? []).every(({ time }) => time < now - seconds * 1000);
    const old = [...this.disk.rooms].filter(([key, room]) => !this.#open.has(key) && isOld(room));
    for (const [key] of old.slice(0, EXPIRE_ROOMS)) {
      await this.call(key, () => {
        if (!this.#open.has(key) && isOld(this.disk.rooms.get(key))) this.disk.rooms.delete(key);
      });
    }
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    const closing = [...this.#open.values()].map((file) => file.close());
    this.#closed = true;
    await Promise.all(closing);
    await Promise.allSettled(this.#answered.values());
    await this.#pass();
    if (this.disk.holder === this) this.disk.holder = undefined;
  }
}

class SimFile implements RoomFile {
  readonly kept: Kept;
  readonly newest: readonly Run[];
  readonly #store: SimStore;
  readonly #key: string;
  readonly #room: SimRoom;
  /** What ended it. */
  #failure: Error | undefined;
  #closed = false;

  constructor(store: SimStore, key: string, room: SimRoom, bytes: number) {
    this.#store = store;
    this.#key = key;
    this.#room = room;
    this.newest = this.#newest(bytes);
    const { logId, next } = this.#state;
    this.kept = { logId, oldest: this.#oldest, next };
  }

  get #state(): State {
    const { state } = this.#room;
    if (state === undefined) throw new Error(`${this.#key} is gone`);
    return state;
  }

  get #oldest(): number {
    return this.#state.batches[0]?.run.first ?? this.#state.next;
  }

  #change(changes: Partial<State>): void {
    this.#room.write({ ...this.#state, ...changes });
  }

  #newest(bytes: number): Run[] {
    const runs: Run[] = [];
    let [next, left] = [this.#state.next, bytes];
    for (const batch of this.#state.batches.toReversed()) {
      left -= batch.run.bytes.length;
      if (left < 0 || batch.run.next !== next) break;
      if (batch.damaged) {
        this.#drop(batch);
        break;
      }
      runs.unshift(batch.run);
      next = batch.run.first;
    }
    return runs;
  }

  #drop(batch: Batch): void {
    const { first, next } = batch.run;
    const what = `entries ${first} to ${next - 1} in ${this.#key} are damaged and dropped`;
    this.#store.report(what);
    this.#change({ batches: this.#state.batches.filter((other) => other !== batch) });
  }

  /** Does something with the file, if it is in order. */
  async #call<T>(action: () => T): Promise<T> {
    if (this.#closed) throw new Error(`${this.#key} is closed`);
    return await this.#store.call(this.#key, () => {
      if (this.#failure !== undefined) throw this.#failure;
      if (this.#room.ruined) {
        this.#failure = new DamagedError(`${this.#key} is damaged`);
        this.#store.retire(this.#key, this);
        throw this.#failure;
      }
      return action();
    });
  }

  append(runs: readonly Run[], time: number, sync: boolean): Promise<number> {
    const copies = runs.map((run) => ({ ...run, bytes: run.bytes.slice() }));
    return this.#call(() => {
      const { disk } = this.#store;
      const state = this.#state;
      let { next } = state;
      for (const run of copies) {
        if (run.first !== next || run.next <= run.first) {
          throw new StorageError(`${this.#key}: entry ${run.first} does not follow ${next - 1}`);
        }
        next = run.next;
      }
      if (disk.full) throw new StorageError(`${this.#key}: the disk is full`);
      if (disk.happens(disk.appendFails)) throw new StorageError(`${this.#key}: not written`);
      const isUnknown = disk.happens(disk.appendUnknown);
      if (isUnknown && disk.happens(0.5)) throw this.#broken("append");
      const batches = copies.map((run) => ({ run, time, damaged: false }));
      const isMarking = !sync && state.mark === undefined;
      const mark = isMarking ? disk.boot : state.mark;
      this.#change({ next, mark, batches: this.#kept([...state.batches, ...batches], next) });
      if (isUnknown) throw this.#broken("append");
      if (sync || isMarking) this.#sync();
      return this.#oldest;
    });
  }

  /** Nobody knows what the disk has: nothing more is done with the file. */
  #broken(what: string): Error {
    this.#failure = new Error(`${this.#key}: nobody knows what became of the ${what}`);
    return this.#failure;
  }

  /** Without what is beyond the limits; half a batch too many stays, and what has just come. */
  #kept(batches: readonly Batch[], next: number): readonly Batch[] {
    const { bytes, entries } = this.#store.keep;
    let size = batches.reduce((sum, { run }) => sum + run.bytes.length, 0);
    let from = 0;
    for (const { run } of batches.slice(0, -1)) {
      const tooMuch = bytes > 0 && size > bytes;
      if (!tooMuch && !(entries > 0 && next - run.next >= entries)) break;
      size -= run.bytes.length;
      from += 1;
    }
    return batches.slice(from);
  }

  sync(): Promise<void> {
    return this.#call(() => this.#sync());
  }

  #sync(): void {
    const { disk } = this.#store;
    if (disk.happens(disk.syncFails)) throw this.#broken("sync");
    this.#room.sync(this.#state);
  }

  page(seq: number, end: number): Promise<Run | undefined> {
    return this.#call(() => {
      const parts: Run[] = [];
      let bytes = 0;
      for (const batch of this.#state.batches) {
        const { run, damaged } = batch;
        if (run.next <= seq) continue;
        if (Math.max(run.first, seq) >= end || bytes >= PAGE_BYTES) break;
        const before = parts.at(-1);
        if (before !== undefined && (damaged || run.first !== before.next)) break;
        if (damaged) {
          this.#drop(batch);
          continue;
        }
        bytes += run.bytes.length;
        parts.push(cut(run, seq, end));
      }
      return joined(parts);
    });
  }

  expire(now: number): Promise<number> {
    return this.#call(() => {
      const { seconds } = this.#store.keep;
      const { batches } = this.#state;
      const young = batches.findIndex(({ time }) => time >= now - seconds * 1000);
      const old = young < 0 ? batches.length : young;
      if (seconds > 0 && old > 0) this.#change({ batches: batches.slice(old) });
      return this.#oldest;
    });
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    await this.#store.call(this.#key, () => {
      this.#store.closed(this.#key, this);
      // What can't be known to be on the disk stays marked.
      const { disk } = this.#store;
      if (this.#failure !== undefined || this.#room.state === undefined) return;
      if (disk.happens(disk.syncFails)) {
        this.#store.report(`${this.#key}: can't be synced`);
        return;
      }
      if (this.#state.mark !== undefined) this.#change({ mark: undefined });
      this.#room.sync(this.#state);
    });
  }
}
