/** The disks below a relay's log: what all of them keep, and what only one can get wrong. */
import { Database } from "bun:sqlite";
import { afterAll, describe, expect, test } from "bun:test";
import {
  closeSync,
  cpSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { SqliteStore } from "../../src/relay/log/disk/sqlite.ts";
import { DamagedError, StorageError, type Store } from "../../src/relay/log/disk/store.ts";
import { asRun, joined } from "../../src/relay/log/run.ts";
import { SYSTEM } from "../../src/runtime.ts";
import { SimDisk, SimStore } from "../sim/disk.ts";
import {
  type DiskUnderTest,
  diskContract,
  failure,
  found,
  type OpenOptions,
  read,
} from "./disk.ts";
import { ID, KEEP_ALL, KEY, keyOf, OTHER, runOf, TIME } from "./values.ts";

const scratch = mkdtempSync(join(tmpdir(), "chat-disk-"));
afterAll(() => rmSync(scratch, { recursive: true, force: true }));

/** The threads that were started here: SqliteStore shows nobody its own. */
const threads: Worker[] = [];
const RealWorker = globalThis.Worker;
globalThis.Worker = class extends RealWorker {
  constructor(...parameters: ConstructorParameters<typeof RealWorker>) {
    super(...parameters);
    threads.push(this);
  }
};
afterAll(() => {
  globalThis.Worker = RealWorker;
});

/** What this process has open in a folder. */
function openIn(folder: string): string[] {
  return readdirSync("/proc/self/fd")
    .map(target)
    .filter((path) => path.startsWith(folder));
}

/** What a descriptor is of. */
function target(descriptor: string): string {
  try {
    return readlinkSync(`/proc/self/fd/${descriptor}`);
  } catch {
    return "";
  }
}

class SqliteFolder implements DiskUnderTest {
  readonly problems: string[] = [];
  folder = mkdtempSync(join(scratch, "folder-"));
  boot = "one";
  readonly #stores = new Set<Store>();

  async open({ fsync = "always", keep = {}, maxRooms = 1000 }: OpenOptions = {}) {
    const { folder, boot } = this;
    const all = { folder, fsync, keep: { ...KEEP_ALL, ...keep }, maxRooms, boot };
    const store = await SqliteStore.open(all, (problem) => this.problems.push(problem));
    this.#stores.add(store);
    return store;
  }

  path(key: string, companion = ""): string {
    return join(this.folder, "rooms", `${key}.db${companion}`);
  }

  /** Nothing is being written: what the files hold now is what kill -9 would leave. */
  async kill(store: Store): Promise<void> {
    const copy = mkdtempSync(join(scratch, "folder-"));
    cpSync(this.folder, copy, { recursive: true });
    await store.close();
    this.folder = copy;
  }

  async reboot(store: Store): Promise<void> {
    await this.kill(store);
    this.boot += "'";
  }

  /** Changes a byte of an entry. */
  async damage(key: string, which: "newest" | "oldest"): Promise<void> {
    const db = new Database(this.path(key));
    const order = which === "newest" ? "DESC" : "ASC";
    const row = db
      .query<{ first: number; bytes: Uint8Array }, []>(
        `SELECT first, bytes FROM batch ORDER BY first ${order} LIMIT 1`,
      )
      .get();
    if (row === null) throw new Error("no batch");
    const bytes = row.bytes.slice();
    bytes[bytes.length - 1] = (bytes.at(-1) ?? 0) ^ 1;
    db.run("UPDATE batch SET bytes = ? WHERE first = ?", [bytes, row.first]);
    db.close();
  }

  async ruin(key: string): Promise<void> {
    const bytes = readFileSync(this.path(key));
    writeFileSync(this.path(key), bytes.fill(0x5a, 0, 4096));
  }

  async remove(): Promise<void> {
    for (const store of this.#stores) await store.close();
    expect(openIn(this.folder)).toEqual([]);
  }
}

class SimFolder implements DiskUnderTest {
  readonly problems: string[] = [];
  readonly disk = new SimDisk(SYSTEM);

  async open({ fsync = "always", keep = {}, maxRooms = 1000 }: OpenOptions = {}) {
    const report = (problem: string) => this.problems.push(problem);
    const all = { fsync, keep: { ...KEEP_ALL, ...keep }, maxRooms, report };
    return new SimStore(SYSTEM, all, this.disk);
  }

  async kill(): Promise<void> {
    this.disk.kill();
  }

  async reboot(): Promise<void> {
    this.disk.kill();
    this.disk.boot += 1;
  }

  async damage(key: string, which: "newest" | "oldest"): Promise<void> {
    this.disk.damage(key, which);
  }

  async ruin(key: string): Promise<void> {
    this.disk.ruin(key);
  }

  async remove(): Promise<void> {}
}

diskContract("SQLite in its thread", () => new SqliteFolder());
diskContract("the simulator's disk", () => new SimFolder());

describe("SQLite's files", () => {
  async function folderTest(action: (disk: SqliteFolder) => Promise<void>): Promise<void> {
    const disk = new SqliteFolder();
    await action(disk);
    await disk.remove();
  }

  /** A closed room of many pages, a batch each. */
  async function largeRoom(disk: SqliteFolder): Promise<void> {
    const store = await disk.open();
    const file = await store.create(KEY, ID);
    for (let seq = 1; seq <= 60; seq++) await file.append([runOf(seq, 1, 20_000)], TIME, false);
    await store.close();
  }

  const asides = (disk: SqliteFolder) =>
    readdirSync(join(disk.folder, "rooms")).filter((name) => name.includes(".damaged-"));

  test("are let go of when a room is closed, with nothing left beside them", () =>
    folderTest(async (disk) => {
      const store = await disk.open({ fsync: "second" });
      const file = await store.create(KEY, ID);
      // More than the write-ahead log holds, so that all that is open at times is open.
      for (let i = 0; i < 200; i++) await file.append([runOf(i + 1, 1, 30_000)], TIME, false);
      await file.page(1, 10);
      await file.expire(TIME);
      expect(openIn(disk.path(KEY)).length).toBeGreaterThan(2);
      await file.close();
      expect(openIn(disk.path(KEY))).toEqual([]);
      expect(readdirSync(join(disk.folder, "rooms"))).toEqual([`${KEY}.db`]);
      await store.close();
      expect(openIn(disk.folder)).toEqual([]);
      expect(readdirSync(disk.folder).sort()).toEqual(["catalog", "lock", "rooms"]);
      expect(disk.problems).toEqual([]);
    }));

  test("can be read by nobody else", () =>
    folderTest(async (disk) => {
      const store = await disk.open();
      const file = await store.create(KEY, ID);
      await file.append([runOf(1)], TIME, true);
      for (const path of [disk.folder, disk.path(KEY), disk.path(KEY, "-wal")]) {
        expect(statSync(path).mode & 0o077).toBe(0);
      }
    }));

  test("have a write-ahead log that stays small", () =>
    folderTest(async (disk) => {
      const store = await disk.open({ keep: { bytes: 1 << 20 } });
      const file = await store.create(KEY, ID);
      for (let i = 0; i < 1000; i++) await file.append([runOf(i + 1, 1, 32_000)], TIME, false);
      expect(statSync(disk.path(KEY, "-wal")).size).toBeLessThan(16 << 20);
      expect(statSync(disk.path(KEY)).size).toBeLessThan(4 << 20);
    }));

  test("are synced before they are shown, when nobody says that they were", () =>
    folderTest(async (disk) => {
      let store = await disk.open({ fsync: "always" });
      const file = await store.create(KEY, ID);
      await file.append([runOf(1)], TIME, false);
      await disk.kill(store);
      for (const fsync of ["always", "second"] as const) {
        store = await disk.open({ fsync });
        await found(store);
        // SQLite's two descriptors, and the two that are there for the sync.
        expect(openIn(disk.path(KEY)).sort()).toEqual([
          disk.path(KEY),
          disk.path(KEY),
          disk.path(KEY, "-wal"),
          disk.path(KEY, "-wal"),
        ]);
        await disk.kill(store);
      }
    }));

  test("whose sync fails take nothing more; what there is can be opened again", () =>
    folderTest(async (disk) => {
      const store = await disk.open();
      const file = await store.create(KEY, ID);
      await file.append([runOf(1)], TIME, true);
      // Pulls the descriptor away that syncs are made with: the one that was opened last.
      const wal = readdirSync("/proc/self/fd").filter(
        (name) => target(name) === disk.path(KEY, "-wal"),
      );
      closeSync(Math.max(...wal.map(Number)));
      for (const call of [() => file.append([runOf(2)], TIME, true), () => file.page(1, 2)]) {
        const error = await failure(call());
        expect(error).toBeInstanceOf(Error);
        expect(error).not.toBeInstanceOf(StorageError);
        expect(String(error)).toContain("can't be synced");
      }
      await file.close();
      const again = await found(store);
      expect(again.kept).toEqual({ logId: ID, oldest: 1, next: 3 });
      await again.append([runOf(3)], TIME, true);
    }));

  test("that are being opened when the folder is closed are let go of", () =>
    folderTest(async (disk) => {
      const store = await disk.open({ keep: { seconds: 1 } });
      for (let i = 0; i < 20; i++) {
        const file = await store.create(keyOf(i), ID);
        await file.append([runOf(1)], TIME, false);
        await file.close();
      }
      const calls = [store.expire(TIME + 500), store.expire(TIME + 5000)];
      for (let i = 0; i < 20; i++) calls.push(store.find(keyOf(i), 1000).then(() => undefined));
      await Promise.all([store.close(), Promise.allSettled(calls)]);
      expect(openIn(disk.folder)).toEqual([]);
      expect(disk.problems).toEqual([]);
    }));

  test("that nobody finished making are no rooms", () =>
    folderTest(async (disk) => {
      await (await disk.open()).close();
      writeFileSync(disk.path(KEY), "");
      const store = await disk.open();
      expect(await store.find(KEY, 1000)).toBeUndefined();
      const file = await store.create(KEY, ID);
      await file.append([runOf(1)], TIME, true);
      expect(store.rooms).toBe(1);
      expect(disk.problems).toEqual([]);
    }));

  for (const [what, harm] of [
    ["cut off", (path: string) => truncateSync(path, 20_000)],
    ["another program's", (path: string) => otherDatabase(path)],
    ["no database", (path: string) => writeFileSync(path, "something else\n".repeat(100))],
  ] as const) {
    test(`that are ${what} are put aside`, () =>
      folderTest(async (disk) => {
        await largeRoom(disk);
        harm(disk.path(KEY));
        const store = await disk.open();
        expect(await store.find(KEY, 1 << 20)).toBeUndefined();
        expect(asides(disk).length).toBeGreaterThan(0);
        expect(disk.problems.length).toBe(1);
        expect(openIn(disk.path(KEY))).toEqual([]);
        await (await store.create(KEY, ID)).append([runOf(1)], TIME, true);
      }));
  }

  test("whose damage is met while reading are closed and put aside", () =>
    folderTest(async (disk) => {
      await largeRoom(disk);
      const store = await disk.open();
      const file = await found(store, KEY, 0);
      // Not the tables' own pages, and not those at the end: it is found on the way.
      const bytes = readFileSync(disk.path(KEY));
      writeFileSync(disk.path(KEY), bytes.fill(0xff, 3 * 8192, bytes.length - 8192));
      let error: unknown;
      for (let seq = 1; seq <= 60 && !(error instanceof DamagedError); seq++) {
        error = await failure(file.page(seq, 61));
      }
      expect(error).toBeInstanceOf(DamagedError);
      expect(disk.problems.at(-1)).toMatch(/is damaged .*and the room begins anew/);
      expect(asides(disk).length).toBeGreaterThan(0);
      expect(openIn(disk.path(KEY))).toEqual([]);
      expect(await failure(file.page(1, 61))).toBeInstanceOf(Error);
      expect(await store.find(KEY, 1000)).toBeUndefined();
      await file.close();
    }));

  test("whose damage is met while writing are closed and put aside", () =>
    folderTest(async (disk) => {
      await largeRoom(disk);
      const store = await disk.open({ keep: { entries: 60 } });
      const file = await found(store, KEY, 0);
      const bytes = readFileSync(disk.path(KEY));
      writeFileSync(disk.path(KEY), bytes.fill(0xff, 8192));
      let error: unknown;
      for (let seq = 61; seq <= 200 && error === undefined; seq++) {
        error = await failure(file.append([runOf(seq, 1, 20_000)], TIME, true));
      }
      expect(error).toBeInstanceOf(DamagedError);
      expect(asides(disk).length).toBeGreaterThan(0);
      expect(openIn(disk.path(KEY))).toEqual([]);
      expect(await store.find(KEY, 1000)).toBeUndefined();
    }));

  test("are found by a new catalog when the old one is gone, or no catalog", () =>
    folderTest(async (disk) => {
      let store = await disk.open({ keep: { seconds: 60 } });
      for (let i = 0; i < 5; i++) {
        const file = await store.create(keyOf(i), ID);
        await file.append([runOf(1)], TIME + i * 1000, true);
        await file.close();
      }
      await store.close();
      for (const harm of [
        () => rmSync(join(disk.folder, "catalog")),
        () => writeFileSync(join(disk.folder, "catalog"), "no catalog\n".repeat(1000)),
      ]) {
        harm();
        store = await disk.open({ keep: { seconds: 60 } });
        expect(store.rooms).toBe(5);
        await store.expire(TIME + 60_000);
        expect(store.rooms).toBe(5);
        await store.close();
      }
      rmSync(disk.path(keyOf(4)));
      store = await disk.open({ keep: { seconds: 60 } });
      expect(store.rooms).toBe(4);
      await store.expire(TIME + 62_500);
      expect(store.rooms).toBe(1);
    }));

  test("have no age by the machine's clock", () =>
    folderTest(async (disk) => {
      const store = await disk.open({ keep: { seconds: 60 } });
      const file = await store.create(KEY, ID);
      await file.append([runOf(1)], 1000, true);
      await file.close();
      await store.expire(30_000);
      expect(store.rooms).toBe(1);
      await store.expire(62_000);
      expect(store.rooms).toBe(0);
    }));

  test("can't be in a file, nor where nothing may be made", async () => {
    const file = join(scratch, "a-file");
    writeFileSync(file, "");
    const options = { folder: file, fsync: "always", keep: KEEP_ALL, maxRooms: 1 } as const;
    const error = await failure(SqliteStore.open(options, () => undefined));
    expect(error).toBeInstanceOf(StorageError);
    expect(String(error)).toContain(`can't use ${file} for --data`);
  });

  test("that a thread has left at its end are closed, and opened by the next", () =>
    folderTest(async (disk) => {
      const store = await disk.open({ fsync: "second" });
      const file = await store.create(KEY, ID);
      await file.append([runOf(1)], TIME, false);
      const calls = [
        failure(file.append([runOf(2)], TIME, true)),
        failure(file.page(1, 2)),
        failure(store.find(OTHER, 1)),
      ];
      threads.at(-1)?.terminate();
      for (const error of await Promise.all(calls)) {
        if (error === undefined) continue;
        expect(error).toBeInstanceOf(Error);
        expect(error).not.toBeInstanceOf(StorageError);
      }
      const late = await failure(file.append([runOf(3)], TIME, true));
      expect(late).toBeInstanceOf(Error);
      expect(late).not.toBeInstanceOf(StorageError);
      await file.close();
      const again = await found(store);
      expect(again.kept.logId).toEqual(ID);
      expect(again.kept.next).toBeGreaterThanOrEqual(2);
      await again.append([runOf(again.kept.next)], TIME, false);
      // Nothing of the thread before is left open.
      expect(openIn(disk.path(KEY)).length).toBeLessThanOrEqual(4);
      threads.at(-1)?.terminate();
      await store.close();
    }));

  test("are as they were after a real kill -9, down to the last that was answered", () =>
    folderTest(async (disk) => {
      const script = `
        const { SqliteStore } = await import(${JSON.stringify(join(import.meta.dir, "../../src/relay/log/disk/sqlite.ts"))});
        const { runOf, ID, KEEP_ALL, KEY } = await import(${JSON.stringify(join(import.meta.dir, "values.ts"))});
        const options = { folder: ${JSON.stringify(disk.folder)}, fsync: "second", keep: KEEP_ALL, maxRooms: 9, boot: "one" };
        const store = await SqliteStore.open(options, console.error);
        const file = await store.create(KEY, ID);
        for (let seq = 1; ; seq++) {
          await file.append([runOf(seq, 1, 5000)], 1, false);
          console.log(seq);
        }`;
      const child = Bun.spawn([process.execPath, "-e", script], { stdout: "pipe" });
      let said = "";
      for await (const chunk of child.stdout) {
        said += Buffer.from(chunk).toString();
        if (said.split("\n").length > 300) child.kill("SIGKILL");
      }
      const last = Number(said.split("\n").at(-2));
      const store = await disk.open({ fsync: "second" });
      const file = await found(store);
      expect(file.kept.logId).toEqual(ID);
      expect(file.kept.next).toBeGreaterThan(last);
      expect((await read(file, 1, file.kept.next))?.next).toBe(file.kept.next);
    }));
});

/** A database with other tables in it. */
function otherDatabase(path: string): void {
  rmSync(path);
  const db = new Database(path);
  db.run("CREATE TABLE something (else1)");
  db.close();
}

describe("the simulator's disk", () => {
  test("loses with the power what was not synced, in part, and nothing else", async () => {
    const lengths = new Set<number>();
    for (let round = 0; round < 60; round++) {
      const folder = new SimFolder();
      const store = await folder.open({ fsync: "second" });
      const file = await store.create(KEY, ID);
      for (let seq = 1; seq <= 4; seq++) await file.append([runOf(seq)], TIME, false);
      await file.sync();
      for (let seq = 5; seq <= 8; seq++) await file.append([runOf(seq)], TIME, false);
      folder.disk.powerCut();
      const again = await found(await folder.open({ fsync: "second" }));
      expect(again.kept.logId).not.toEqual(ID);
      expect(again.kept.next).toBe(joined(again.newest)?.next ?? 0);
      lengths.add(again.kept.next);
    }
    expect([...lengths].sort()).toEqual([5, 6, 7, 8, 9]);
  });

  test("loses nothing with the power that was appended with a sync", async () => {
    const folder = new SimFolder();
    const store = await folder.open();
    const file = await store.create(KEY, ID);
    await file.append([runOf(1)], TIME, true);
    folder.disk.powerCut();
    const again = await found(await folder.open());
    expect(again.kept).toEqual({ logId: ID, oldest: 1, next: 2 });
  });

  test("answers nothing once its process is dead, and late while it hangs", async () => {
    const folder = new SimFolder();
    const store = await folder.open();
    const file = await store.create(KEY, ID);
    let answers = 0;
    const count = () => {
      answers += 1;
    };
    folder.disk.hang();
    const appended = file.append([runOf(1)], TIME, true).then(count);
    for (let i = 0; i < 20; i++) await new Promise((resolve) => setImmediate(resolve));
    expect(answers).toBe(0);
    folder.disk.resume();
    await appended;
    void file.append([runOf(2)], TIME, true).then(count, count);
    folder.disk.kill();
    for (let i = 0; i < 20; i++) await new Promise((resolve) => setImmediate(resolve));
    expect(answers).toBe(1);
    expect((await found(await folder.open())).kept.next).toBe(2);
  });

  test("fails as it is told to", async () => {
    const folder = new SimFolder();
    const { disk } = folder;
    const store = await folder.open();
    let file = await store.create(KEY, ID);
    disk.appendFails = 1;
    expect(await failure(file.append([runOf(1)], TIME, true))).toBeInstanceOf(StorageError);
    disk.appendFails = 0;
    disk.full = true;
    expect(await failure(file.append([runOf(1)], TIME, true))).toBeInstanceOf(StorageError);
    expect(await failure(store.create(OTHER, ID))).toBeInstanceOf(StorageError);
    disk.full = false;
    const nexts = new Set<number>();
    disk.appendUnknown = 1;
    for (let i = 0; i < 40; i++) {
      const { next } = file.kept;
      const error = await failure(file.append([runOf(next)], TIME, true));
      expect(error).not.toBeInstanceOf(StorageError);
      expect(await failure(file.page(1, next))).toBeInstanceOf(Error);
      await file.close();
      file = await found(store);
      nexts.add(file.kept.next - next);
    }
    expect([...nexts].sort()).toEqual([0, 1]);
    disk.appendUnknown = 0;
    disk.syncFails = 1;
    const error = await failure(file.append([runOf(file.kept.next)], TIME, true));
    expect(error).not.toBeInstanceOf(StorageError);
    expect(error).toBeInstanceOf(Error);
  });
});

describe("a run that comes from outside", () => {
  test("is none, whatever its bytes are, unless it is whole entries in order", () => {
    const good = runOf(5, 3);
    expect(asRun(5, good.bytes)).toEqual(good);
    expect(asRun(4, good.bytes)).toBeUndefined();
    expect(asRun(5, good.bytes.subarray(0, 250))).toBeUndefined();
    const hostile = (at: number, value: number, first = 5) => {
      const bytes = good.bytes.slice();
      bytes[at] = value;
      return asRun(first, bytes);
    };
    // A number above 2^53, which reading as a number throws for; lengths that are too short, and too long.
    expect(hostile(5, 0xff)).toBeUndefined();
    expect(hostile(3, 0)).toBeUndefined();
    expect(hostile(0, 0xff)).toBeUndefined();
    expect(asRun(0, new Uint8Array(1000))).toBeUndefined();
    expect(asRun(Number.MAX_SAFE_INTEGER, runOf(1).bytes)).toBeUndefined();
    expect(asRun(Number.NaN, new Uint8Array(17))).toBeUndefined();
  });
});
