/**
 * A log on the relay's own disk: group commit. What comes while one batch is being written is the next
 * batch, so that a slow disk makes batches larger and holds up nobody but who waits for it.
 *
 * With the policy "always" a batch is committed when the disk has it, with "second" and "never" when
 * it has been written, which outlives the relay's process and not the machine.
 */
import { ProtocolError } from "../../../protocol/errors.ts";
import { LOG_ID_BYTES } from "../../../protocol/messages.ts";
import type { Alarm, Runtime } from "../../../runtime.ts";
import { Batch } from "../batch.ts";
import type { Budget } from "../budget.ts";
import { commit } from "../commit.ts";
import type { Log, LogEvents } from "../log.ts";
import type { Ring } from "../ring.ts";
import type { Run } from "../run.ts";
import { BATCH_BYTES, type RoomFile, StorageError, type Store } from "./store.ts";

/** How often the policy "second" syncs, in milliseconds. */
const SYNC_MS = 1000;
/** How long the disk may take for one answer, in milliseconds: then it is not to be waited for. */
const STALL_MS = 30_000;

export interface DiskLogOptions {
  readonly store: Store;
  readonly key: string;
  readonly ring: Ring;
  readonly budget: Budget;
  readonly runtime: Runtime;
  readonly events: LogEvents;
  /** Milliseconds since 1970, on the one clock by which entries of this store grow old. */
  readonly time: () => number;
}

export class DiskLog implements Log {
  readonly id: Uint8Array;
  readonly ring: Ring;
  readonly #options: DiskLogOptions;
  /** Undefined until there is something to keep: who only looks in makes no file. */
  #file: RoomFile | undefined;
  /** Oldest entry in the file. */
  #oldest: number;
  /** What comes now. */
  #coming: Batch;
  /** What is being written, or nothing. */
  #writing: Batch;
  #busy = false;
  /** How many batches have been begun, the coming one among them. */
  #begun = 1;
  /** Who waits for a batch, and is told when it is committed or refused, or with what lost it. */
  #waiters: { readonly batch: number; told(error?: unknown): void }[] = [];
  #syncAlarm: Alarm | undefined;
  #closed = false;

  private constructor(options: DiskLogOptions, id: Uint8Array, file: RoomFile | undefined) {
    this.#options = options;
    this.ring = options.ring;
    this.id = id;
    this.#file = file;
    this.#coming = new Batch(options.budget);
    this.#writing = new Batch(options.budget);
    this.#oldest = file?.kept.oldest ?? options.ring.next;
  }

  /** Fills the ring with the newest entries that are kept. @throws StorageError */
  static async open(options: DiskLogOptions): Promise<DiskLog> {
    const { store, key, ring, runtime } = options;
    // Half of the ring, so that what comes next does not overwrite it at once.
    const file = await store.find(key, ring.most / 2);
    if (file === undefined) {
      return new DiskLog(options, runtime.random(new Uint8Array(LOG_ID_BYTES)), undefined);
    }
    ring.beginAt(file.newest[0]?.first ?? file.kept.next);
    commit(ring, file.newest, () => undefined);
    return new DiskLog(options, file.kept.logId, file);
  }

  get oldest(): number {
    return this.#file === undefined ? this.ring.oldest : Math.min(this.#oldest, this.ring.oldest);
  }

  get congested(): boolean {
    return this.#coming.congested;
  }

  append(type: number, from: number, source: Uint8Array, start: number, end: number): void {
    this.#coming.add(type, from, source, start, end);
  }

  flush(): void {
    if (this.#busy || this.#closed || this.#coming.count === 0) return;
    [this.#coming, this.#writing] = [this.#writing, this.#coming];
    this.#busy = true;
    this.#begun += 1;
    void this.#write(this.#writing);
  }

  async #write(batch: Batch): Promise<void> {
    const { store, events, runtime, time } = this.#options;
    const runs = batch.runs(this.ring.next, BATCH_BYTES);
    const stall = runtime.clock.after(STALL_MS, () =>
      this.#lose(new Error(`the disk has not answered for ${STALL_MS / 1000} s`)),
    );
    try {
      const file = this.#file ?? (await this.#create());
      if (file === undefined) return;
      this.#oldest = await file.append(runs, time(), store.fsync === "always");
    } catch (error) {
      this.#failed(error);
      return;
    } finally {
      stall.cancel();
    }
    if (this.#closed) return;
    commit(this.ring, runs, () => events.committed());
    batch.clear();
    this.#busy = false;
    if (store.fsync === "second") {
      this.#syncAlarm ??= runtime.clock.after(SYNC_MS, () => void this.#sync());
    }
    this.#settle(this.#begun - 1);
    this.flush();
  }

  /** @returns undefined where the log was lost meanwhile: then nobody has the file */
  async #create(): Promise<RoomFile | undefined> {
    const { store, key } = this.#options;
    const file = await store.create(key, this.id);
    if (this.#closed) {
      await file.close();
      return undefined;
    }
    this.#file = file;
    return file;
  }

  #failed(error: unknown): void {
    if (this.#closed) return;
    // These two say that nothing was written. After anything else nobody knows.
    if (error instanceof StorageError || error instanceof ProtocolError) this.#refuse(error);
    else this.#lose(error);
  }

  /** What is on its way is given up: it has been shown to nobody, and its numbers are free again. */
  #refuse(error: unknown): void {
    const senders = this.#writing.senders().union(this.#coming.senders());
    this.#writing.clear();
    this.#coming.clear();
    this.#busy = false;
    this.#options.events.refused(senders, error);
    this.#settle(this.#begun);
  }

  #lose(error: unknown): void {
    if (this.#closed) return;
    this.#end();
    this.#settle(this.#begun, error);
    // It may not answer any more; whoever opens the room next waits for it.
    void this.#file?.close().catch(() => undefined);
    this.#options.events.lost(error);
  }

  async #sync(): Promise<void> {
    this.#syncAlarm = undefined;
    try {
      await this.#file?.sync();
    } catch (error) {
      this.#lose(error);
    }
  }

  /** The batches up to this one are done. */
  #settle(batch: number, error?: unknown): void {
    const done = this.#waiters.filter((waiter) => waiter.batch <= batch);
    this.#waiters = this.#waiters.filter((waiter) => waiter.batch > batch);
    for (const { told } of done) told(error);
  }

  /** Resolves when all that was appended so far is committed or refused. @throws what lost it */
  fence(): Promise<void> {
    this.flush();
    // What comes now is its own batch if it holds anything, and waits if another is being written.
    const batch = this.#coming.count > 0 ? this.#begun : this.#begun - 1;
    if (!this.#busy) return Promise.resolve();
    return new Promise((resolve, reject) => {
      const told = (error?: unknown) => (error === undefined ? resolve() : reject(error));
      this.#waiters.push({ batch, told });
    });
  }

  async page(seq: number): Promise<Run | undefined> {
    try {
      return await this.#file?.page(seq, this.ring.oldest);
    } catch (error) {
      if (!(error instanceof StorageError)) this.#lose(error);
      throw error;
    }
  }

  async expire(): Promise<void> {
    if (this.#closed || this.#file === undefined) return;
    try {
      this.#oldest = await this.#file.expire(this.#options.time());
    } catch (error) {
      if (error instanceof StorageError) throw error;
      this.#lose(error);
    }
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    // A log that is lost meanwhile is closed.
    await this.fence().catch(() => undefined);
    if (this.#closed) return;
    this.#end();
    await this.#file?.close();
  }

  #end(): void {
    this.#closed = true;
    this.#syncAlarm?.cancel();
    this.#coming.close();
    this.#writing.close();
  }
}
