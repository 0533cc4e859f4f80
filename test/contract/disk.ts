/**
 * What every Store keeps (src/relay/log/disk/store.ts), as tests: of SQLite in its thread, and of the
 * simulator's disk.
 */
import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import {
  EXPIRE_ROOMS,
  FSYNC_POLICIES,
  type FsyncPolicy,
  type Keep,
  PAGE_BYTES,
  type RoomFile,
  StorageError,
  type Store,
} from "../../src/relay/log/disk/store.ts";
import { joined, type Run } from "../../src/relay/log/run.ts";
import { ID, KEY, keyOf, OTHER, OTHER_ID, runOf, TIME } from "./values.ts";

export interface OpenOptions {
  readonly fsync?: FsyncPolicy;
  readonly keep?: Partial<Keep>;
  readonly maxRooms?: number;
}

/** One folder, and what can happen to it. */
export interface DiskUnderTest {
  /** What the relay's log was told. */
  readonly problems: string[];
  open(options?: OpenOptions): Promise<Store>;
  /** The relay's process ends as by kill -9: what it had written is what the next one finds. */
  kill(store: Store): Promise<void>;
  /** As `kill`, and the machine starts anew; nothing that was written is lost. */
  reboot(store: Store): Promise<void>;
  /** Entries of a batch are not what was written; nobody has the folder open. */
  damage(key: string, which: "newest" | "oldest"): Promise<void>;
  /** The room's file as a whole is not what was written; nobody has the folder open. */
  ruin(key: string): Promise<void>;
  remove(): Promise<void>;
}

/** All entries from `seq` on, by pages; there must be no gap. */
export async function read(file: RoomFile, seq: number, end: number): Promise<Run | undefined> {
  const pages: Run[] = [];
  for (let next = seq; next < end; next = pages.at(-1)?.next ?? end) {
    const page = await file.page(next, end);
    if (page === undefined) break;
    expect(page.first).toBe(next);
    pages.push(page);
  }
  return joined(pages);
}

export async function found(store: Store, key = KEY, bytes = 1 << 20): Promise<RoomFile> {
  const file = await store.find(key, bytes);
  if (file === undefined) throw new Error("nothing is kept of the room");
  return file;
}

/** What a promise rejects with. */
export async function failure(promise: Promise<unknown>): Promise<unknown> {
  return await promise.then(
    () => undefined,
    (error) => error,
  );
}

export function diskContract(name: string, make: () => DiskUnderTest): void {
  describe(name, () => {
    let disk: DiskUnderTest;
    beforeEach(() => {
      disk = make();
    });
    afterEach(() => disk.remove());

    /** A room with runs of one entry each, closed. */
    async function room(store: Store, key: string, entries: number, time = TIME): Promise<void> {
      const file = await store.create(key, ID);
      for (let seq = 1; seq <= entries; seq++) await file.append([runOf(seq)], time, false);
      await file.close();
    }

    test("keeps nothing of a room until it is made", async () => {
      const store = await disk.open();
      expect(await store.find(KEY, 1000)).toBeUndefined();
      expect(store.rooms).toBe(0);
      const file = await store.create(KEY, ID);
      expect(file.kept).toEqual({ logId: ID, oldest: 1, next: 1 });
      expect(file.newest).toEqual([]);
      expect(store.rooms).toBe(1);
      expect(await file.page(1, 1)).toBeUndefined();
      await store.close();
    });

    test("gives back what was appended, after it was closed and opened", async () => {
      const store = await disk.open();
      const file = await store.create(KEY, ID);
      expect(await file.append([runOf(1, 3)], TIME, true)).toBe(1);
      expect(await file.append([runOf(4, 2), runOf(6, 1, 5000)], TIME, false)).toBe(1);
      await file.sync();
      const all = joined([runOf(1, 3), runOf(4, 2), runOf(6, 1, 5000)]);
      expect(await file.page(1, 7)).toEqual(all);
      await store.close();
      const again = await found(await disk.open());
      expect(again.kept).toEqual({ logId: ID, oldest: 1, next: 7 });
      expect(joined(again.newest)).toEqual(all);
      expect(await again.append([runOf(7)], TIME, true)).toBe(1);
      expect(await again.page(7, 8)).toEqual(runOf(7));
    });

    test("lets a room be opened again as soon as it is closed", async () => {
      const store = await disk.open();
      const file = await store.create(KEY, ID);
      const appended = file.append([runOf(1)], TIME, true);
      const closed = file.close();
      const again = await found(store);
      expect(await appended).toBe(1);
      await closed;
      expect(again.kept.next).toBe(2);
      expect(await failure(file.append([runOf(2)], TIME, true))).toBeInstanceOf(Error);
      expect(String(await failure(store.find(KEY, 1)))).toContain("is open already");
      await store.close();
    });

    test("does calls of a room in their order", async () => {
      const store = await disk.open();
      const file = await store.create(KEY, ID);
      const calls = Array.from({ length: 40 }, (_, i) =>
        file.append([runOf(i + 1)], TIME, i % 3 === 0),
      );
      expect(await Promise.all(calls)).toEqual(calls.map(() => 1));
      expect((await read(file, 1, 41))?.next).toBe(41);
      await store.close();
    });

    test("takes all runs or none, and none that do not follow", async () => {
      const store = await disk.open();
      const file = await store.create(KEY, ID);
      await file.append([runOf(1, 2)], TIME, true);
      for (const runs of [[runOf(2)], [runOf(4)], [runOf(3), runOf(5)], [runOf(3), runOf(3)]]) {
        expect(await failure(file.append(runs, TIME, true))).toBeInstanceOf(StorageError);
      }
      expect((await read(file, 1, 100))?.next).toBe(3);
      await file.append([runOf(3)], TIME, true);
      await file.close();
      expect((await found(store)).kept.next).toBe(4);
      await store.close();
    });

    test("takes as much as comes: batches larger than a page, and thousands of small ones", async () => {
      const store = await disk.open();
      const file = await store.create(KEY, ID);
      let next = 1;
      for (let i = 0; i < 300; i++) {
        const runs = [runOf(next, 320), runOf(next + 320, 1, 60_000), runOf(next + 321)];
        next += 322;
        await file.append(runs, TIME, i % 50 === 0);
      }
      const all = await read(file, 1, next);
      expect(all?.bytes.length).toBe(300 * (32_000 + 60_000 + 100));
      await file.close();
      expect((await found(store)).kept.next).toBe(next);
      await store.close();
    });

    test("gives the newest entries, as many as are wanted, up to the last", async () => {
      const store = await disk.open();
      const file = await store.create(KEY, ID);
      for (let seq = 1; seq <= 400; seq++) await file.append([runOf(seq)], TIME, false);
      await file.close();
      for (const [bytes, first] of [
        [1000, 391],
        [1099, 391],
        [31_000, 91],
        [1 << 20, 1],
      ] as const) {
        const again = await found(store, KEY, bytes);
        expect(joined(again.newest)).toMatchObject({ first, next: 401 });
        await again.close();
      }
      expect((await found(store, KEY, 99)).newest).toEqual([]);
      await store.close();
    });

    test("pages: from the middle of a batch, to an end, no more than is asked for at once", async () => {
      const store = await disk.open();
      const file = await store.create(KEY, ID);
      await file.append([runOf(1, 10), runOf(11, 10)], TIME, false);
      expect(await file.page(4, 6)).toMatchObject({ first: 4, next: 6 });
      expect(await file.page(9, 13)).toMatchObject({ first: 9, next: 13 });
      expect(await file.page(20, 1000)).toMatchObject({ first: 20, next: 21 });
      expect(await file.page(21, 1000)).toBeUndefined();
      expect(await file.page(5, 5)).toBeUndefined();
      await file.append([runOf(21, 300), runOf(321, 300), runOf(621, 300)], TIME, false);
      const page = await file.page(21, 1000);
      expect(page?.next).toBe(621);
      expect(page?.bytes.length).toBeLessThan(2 * PAGE_BYTES);
      await store.close();
    });

    test("keeps no more entries than it may, and says which is the oldest", async () => {
      const store = await disk.open({ keep: { entries: 10 } });
      const file = await store.create(KEY, ID);
      for (let seq = 1; seq <= 24; seq += 2) {
        const oldest = await file.append([runOf(seq, 2)], TIME, false);
        expect(oldest).toBe(Math.max(1, seq - 8));
      }
      expect(await file.page(1, 1000)).toMatchObject({ first: 15, next: 25 });
      expect(await file.append([runOf(25, 50)], TIME, false)).toBe(25);
      await file.close();
      expect((await found(store)).kept).toEqual({ logId: ID, oldest: 25, next: 75 });
      await store.close();
    });

    test("keeps no more bytes than it may, and what came last in any case", async () => {
      const store = await disk.open({ keep: { bytes: 1000 } });
      const file = await store.create(KEY, ID);
      for (let seq = 1; seq <= 30; seq++) await file.append([runOf(seq)], TIME, false);
      expect(await file.page(1, 1000)).toMatchObject({ first: 21, next: 31 });
      expect(await file.append([runOf(31, 1, 3000)], TIME, false)).toBe(31);
      expect(await file.append([runOf(32)], TIME, false)).toBe(32);
      await store.close();
    });

    test("deletes what is too old; numbers go on when all of it is", async () => {
      const store = await disk.open({ keep: { seconds: 60 } });
      const file = await store.create(KEY, ID);
      for (let i = 0; i < 5; i++) await file.append([runOf(i + 1)], TIME + i * 10_000, false);
      expect(await file.expire(TIME + 60_000)).toBe(1);
      expect(await file.expire(TIME + 75_000)).toBe(3);
      expect(await file.expire(TIME + 200_000)).toBe(6);
      expect(await file.page(1, 6)).toBeUndefined();
      await file.close();
      const again = await found(store);
      expect(again.kept).toEqual({ logId: ID, oldest: 6, next: 6 });
      await again.append([runOf(6)], TIME + 200_000, true);
      expect(await again.page(1, 7)).toEqual(runOf(6));
      await store.close();
    });

    test("removes rooms in which all is too old, by the times that it is told alone", async () => {
      let store = await disk.open({ keep: { seconds: 60 } });
      await room(store, KEY, 3);
      await room(store, OTHER, 3, TIME + 60_000);
      const open = await store.create(keyOf(1), ID);
      await open.append([runOf(1)], TIME, false);
      await store.expire(TIME + 60_000);
      expect(store.rooms).toBe(3);
      await store.expire(TIME + 61_000);
      expect(store.rooms).toBe(2);
      expect(await store.find(KEY, 1000)).toBeUndefined();
      expect(await open.page(1, 2)).toEqual(runOf(1));
      const again = await store.create(KEY, OTHER_ID);
      expect(again.kept).toEqual({ logId: OTHER_ID, oldest: 1, next: 1 });
      await disk.kill(store);
      // A room that was open when its relay ended is found as well.
      store = await disk.open({ keep: { seconds: 60 } });
      expect(store.rooms).toBe(3);
      await store.expire(TIME + 61_000);
      expect(store.rooms).toBe(1);
      expect((await found(store, OTHER)).kept.next).toBe(4);
      await store.close();
    });

    test("removes a few rooms at a time; one that is damaged is in nobody's way", async () => {
      let store = await disk.open({ keep: { seconds: 60 } });
      const count = EXPIRE_ROOMS + 10;
      await Promise.all(Array.from({ length: count }, (_, i) => room(store, keyOf(i), 1)));
      await store.close();
      await disk.ruin(keyOf(0));
      store = await disk.open({ keep: { seconds: 60 } });
      await store.expire(TIME + 100_000);
      expect(store.rooms).toBe(10);
      await store.expire(TIME + 100_000);
      expect(store.rooms).toBe(0);
      await store.close();
    });

    test("refuses one room too many, and only that", async () => {
      const store = await disk.open({ maxRooms: 2 });
      const file = await store.create(KEY, ID);
      await room(store, OTHER, 1);
      const error = await failure(store.create(keyOf(1), ID));
      expect(error).toMatchObject({ name: "ProtocolError", code: "rooms-full" });
      expect(String(error)).toContain("keeps 2 rooms already");
      await file.append([runOf(1)], TIME, true);
      expect((await found(store, OTHER)).kept.next).toBe(2);
      await store.close();
    });

    test("makes no room twice", async () => {
      const store = await disk.open();
      await room(store, KEY, 1);
      // Who thinks that there is none must look again: that is no refusal.
      const error = await failure(store.create(KEY, OTHER_ID));
      expect(error).toBeInstanceOf(Error);
      expect(error).not.toBeInstanceOf(StorageError);
      expect((await found(store)).kept).toEqual({ logId: ID, oldest: 1, next: 2 });
      await store.close();
    });

    test("has one relay at a time", async () => {
      const store = await disk.open();
      const error = await failure(disk.open());
      expect(error).toBeInstanceOf(StorageError);
      expect(String(error)).toContain("another relay uses");
      await room(store, KEY, 1);
      await store.close();
      await (await disk.open()).close();
    });

    for (const fsync of FSYNC_POLICIES) {
      test(`has everything after kill -9, under the same id, with "${fsync}"`, async () => {
        let store = await disk.open({ fsync });
        const file = await store.create(KEY, ID);
        for (let seq = 1; seq <= 20; seq++) {
          await file.append([runOf(seq)], TIME, fsync === "always");
        }
        await disk.kill(store);
        store = await disk.open({ fsync });
        expect(store.rooms).toBe(1);
        const again = await found(store);
        expect(again.kept).toEqual({ logId: ID, oldest: 1, next: 21 });
        expect(joined(again.newest)?.next).toBe(21);
        await again.append([runOf(21)], TIME, fsync === "always");
        await disk.kill(store);
        store = await disk.open({ fsync });
        expect((await found(store)).kept).toEqual({ logId: ID, oldest: 1, next: 22 });
        await store.close();
      });

      test(`after the machine's end with "${fsync}": the id says whether all is there`, async () => {
        let store = await disk.open({ fsync });
        const file = await store.create(KEY, ID);
        await file.append([runOf(1, 5)], TIME, fsync === "always");
        await room(store, OTHER, 3);
        await disk.reboot(store);
        store = await disk.open({ fsync });
        const again = await found(store);
        expect(again.kept).toMatchObject({ oldest: 1, next: 6 });
        expect(Buffer.compare(again.kept.logId, ID) === 0).toBe(fsync === "always");
        // Closed before: nothing of it was under way.
        expect((await found(store, OTHER)).kept.logId).toEqual(ID);
        await store.close();
        store = await disk.open({ fsync });
        // The new id stays.
        expect((await found(store)).kept.logId).toEqual(again.kept.logId);
        await store.close();
      });
    }

    test("knows at the machine's next start what another policy left", async () => {
      let store = await disk.open({ fsync: "second" });
      const file = await store.create(KEY, ID);
      await file.append([runOf(1)], TIME, false);
      await disk.reboot(store);
      store = await disk.open({ fsync: "always" });
      const { logId } = (await found(store)).kept;
      expect(logId).not.toEqual(ID);
      await disk.reboot(store);
      store = await disk.open({ fsync: "second" });
      expect((await found(store)).kept.logId).toEqual(logId);
      await store.close();
    });

    test("has no mark of the policy before, once all of it is on the disk", async () => {
      let store = await disk.open({ fsync: "second" });
      const file = await store.create(KEY, ID);
      await file.append([runOf(1)], TIME, false);
      await disk.kill(store);
      store = await disk.open({ fsync: "always" });
      expect((await found(store)).kept.logId).toEqual(ID);
      await disk.reboot(store);
      store = await disk.open({ fsync: "second" });
      expect((await found(store)).kept.logId).toEqual(ID);
      await store.close();
    });

    for (const which of ["newest", "oldest"] as const) {
      test(`drops the ${which} batch when it is damaged, says so, and gives no number again`, async () => {
        let store = await disk.open();
        await room(store, KEY, 5);
        await store.close();
        await disk.damage(KEY, which);
        store = await disk.open();
        let file = await found(store);
        expect(file.kept.next).toBe(6);
        expect(joined(file.newest)?.next).toBe(which === "newest" ? undefined : 6);
        const kept = which === "newest" ? { first: 1, next: 5 } : { first: 2, next: 6 };
        expect(await file.page(1, 6)).toMatchObject(kept);
        const number = which === "newest" ? 5 : 1;
        expect(disk.problems.join("\n")).toMatch(
          new RegExp(`entries ${number} to ${number} in .* are damaged and dropped`),
        );
        await disk.kill(store);
        store = await disk.open();
        file = await found(store);
        expect(file.kept).toEqual({ logId: ID, oldest: kept.first, next: 6 });
        await file.append([runOf(6)], TIME, true);
        expect((await file.page(6, 7))?.next).toBe(7);
        expect(disk.problems.length).toBe(1);
        await store.close();
      });
    }

    test("puts a file aside that is damaged as a whole; the room begins anew, others are as they were", async () => {
      let store = await disk.open();
      await room(store, KEY, 5);
      await room(store, OTHER, 5);
      await store.close();
      await disk.ruin(KEY);
      store = await disk.open();
      expect(await store.find(KEY, 1000)).toBeUndefined();
      expect(disk.problems.join("\n")).toMatch(/is damaged.*and the room begins anew/);
      expect(store.rooms).toBe(1);
      const file = await store.create(KEY, OTHER_ID);
      expect(file.kept).toEqual({ logId: OTHER_ID, oldest: 1, next: 1 });
      expect((await found(store, OTHER)).kept.next).toBe(6);
      await store.close();
    });

    test("ends what is open when it is closed, and says so of what comes after", async () => {
      const store = await disk.open({ fsync: "second" });
      const file = await store.create(KEY, ID);
      await file.append([runOf(1)], TIME, false);
      await store.close();
      await store.close();
      await file.close();
      for (const late of [
        file.append([runOf(2)], TIME, true),
        file.sync(),
        file.page(1, 2),
        store.find(KEY, 1),
        store.create(OTHER, ID),
        store.expire(TIME),
      ]) {
        expect(await failure(late)).toBeInstanceOf(Error);
      }
      const next = await disk.open({ fsync: "second" });
      expect((await found(next)).kept.next).toBe(2);
      await next.close();
    });
  });
}
