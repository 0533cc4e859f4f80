/** Rooms that are kept on disk: what survives what, and what a broken disk does. */
import { afterAll, afterEach, describe, expect, setDefaultTimeout, test } from "bun:test";
import {
  closeSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  statSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";
import { Program, RelayProcess, Scratch, SERVER, until } from "./support/programs.ts";
import { RawClient, ROOM } from "./support/raw-client.ts";
import { leftOut } from "./support/vm.ts";

setDefaultTimeout(120_000);

const ALL = { kind: "last", count: 1e9 } as const;
const OTHER_ROOM = new Uint8Array(32).fill(9);
const scratch = new Scratch();
const relays: RelayProcess[] = [];

async function relay(...flags: string[]): Promise<RelayProcess> {
  const started = await RelayProcess.start("--rate", "0", "--byte-rate", "0", ...flags);
  relays.push(started);
  return started;
}

/** A folder name that no other test uses. */
const folder = () => join(scratch.path, crypto.randomUUID());
const roomFile = (data: string, room = ROOM) =>
  join(data, "rooms", `${Buffer.from(room).toString("hex")}.db`);

afterEach(async () => {
  for (const started of relays.splice(0)) {
    if (started.process.exitCode === null && started.process.signalCode === null) {
      expect(await started.stop()).toBe(0);
    }
    expect(started.stderr).toBe("");
  }
});

afterAll(() => scratch.remove());

async function say(client: RawClient, texts: string[]): Promise<void> {
  const before = client.entries.length;
  for (const text of texts) client.send(text);
  await until("what was sent", () => client.entries.length === before + texts.length);
}

const numbered = (count: number, prefix = "m") =>
  Array.from({ length: count }, (_, i) => `${prefix}${i}`);

/** All entries of a room, as somebody gets them who joins now. */
async function everything(port: number, room = ROOM): Promise<RawClient> {
  const reader = await RawClient.join(port, { room, start: ALL });
  const last = (reader.welcomed?.next ?? 1) - 1;
  const seen = () => Math.max(0, ...[...reader.entries, ...reader.gone].map((entry) => entry.seq));
  await until(
    "all entries",
    () => seen() >= last || reader.missed.some((m) => m.first + m.count > last),
  );
  return reader;
}

describe("a room that is kept", () => {
  test("goes on after a restart: same log, next number, everything there", async () => {
    const data = folder();
    const first = await relay("--data", data);
    const ann = await RawClient.join(first.port);
    await say(ann, numbered(300));
    expect(await first.stop()).toBe(0);

    const second = await relay("--data", data);
    const reader = await everything(second.port);
    expect(reader.texts).toEqual(numbered(300));
    expect(reader.welcomed?.logId).toEqual(ann.welcomed?.logId as Uint8Array);
    const logId = ann.welcomed?.logId as Uint8Array;
    const back = await RawClient.join(second.port, { start: { kind: "after", logId, seq: 298 } });
    expect(back.welcomed).toMatchObject({ newLog: false, start: 299 });
    await until("the rest", () => back.entries.length === 2);
    await say(back, ["next"]);
    // Ann's end is an entry too.
    expect(back.entries.map((entry) => entry.seq)).toEqual([299, 300, 302]);
  });

  test("gives a latecomer what memory holds no more, in order and whole", async () => {
    const data = folder();
    const small = ["--ring-bytes", "4096", "--max-frame", "1024"];
    const { port } = await relay("--data", data, ...small);
    const ann = await RawClient.join(port);
    const texts = numbered(2000).map((text, i) => text.padEnd(3 + ((i * 7) % 900), "."));
    await say(ann, texts);
    const reader = await everything(port);
    expect(reader.texts).toEqual(texts);
    expect(reader.missed).toEqual([]);
    const tail = await RawClient.join(port, { start: { kind: "last", count: 700 } });
    await until("700 entries", () => tail.entries.length === 700);
    expect(tail.texts).toEqual(texts.slice(-700));
    // And goes on with what is said now.
    await say(ann, ["now"]);
    await until("the new one", () => reader.texts.at(-1) === "now" && tail.texts.at(-1) === "now");
  });

  test("is nowhere on the disk until something is said", async () => {
    const data = folder();
    const { port } = await relay("--data", data);
    const client = await RawClient.join(port);
    expect(readdirSync(join(data, "rooms"))).toEqual([]);
    await say(client, ["x"]);
    expect(readdirSync(join(data, "rooms"))).toContain(`${Buffer.from(ROOM).toString("hex")}.db`);
    for (const path of [data, join(data, "rooms"), roomFile(data)]) {
      expect(statSync(path).mode & 0o077).toBe(0);
    }
  });

  test("belongs to one relay at a time", async () => {
    const data = folder();
    await relay("--data", data);
    const second = Bun.spawnSync([SERVER, "--host", "127.0.0.1", "--port", "0", "--data", data]);
    expect(second.exitCode).toBe(69);
    expect(second.stderr.toString()).toContain(`another relay uses ${data}`);
    const file = join(scratch.path, "a-file");
    writeFileSync(file, "");
    const third = Bun.spawnSync([SERVER, "--host", "127.0.0.1", "--port", "0", "--data", file]);
    expect(third.exitCode).toBe(69);
    expect(third.stderr.toString()).toContain(`can't use ${file} for --data`);
  });
});

describe("killed at any moment", () => {
  for (const fsync of ["always", "second", "never"]) {
    test(`under load, --fsync ${fsync}: nothing acknowledged is lost or there twice`, async () => {
      const data = folder();
      const flags = [
        "--data",
        data,
        "--fsync",
        fsync,
        "--ring-bytes",
        "64K",
        "--max-frame",
        "4096",
      ];
      const acknowledged = new Map<number, string>();
      let sent = 0;
      for (let round = 0; round < 8; round++) {
        const killed = await relay(...flags);
        const clients = await Promise.all([0, 1, 2].map(() => RawClient.join(killed.port)));
        const deadline = performance.now() + 100 + Math.random() * 300;
        while (performance.now() < deadline) {
          for (const client of clients) {
            for (let i = 0; i < 20; i++) client.send(`m${sent++}`.padEnd(8 + (sent % 200), "."));
          }
          await Bun.sleep(1);
        }
        killed.kill("SIGKILL");
        await killed.process.exited;
        await until("the end", () => clients.every((client) => client.closed));
        for (const client of clients) {
          for (const { seq, text } of client.entries) {
            // Two clients never disagree on what a number stands for.
            expect(acknowledged.get(seq) ?? text).toBe(text);
            acknowledged.set(seq, text);
          }
        }
      }
      expect(acknowledged.size).toBeGreaterThan(500);
      const { port } = await relay(...flags);
      const reader = await everything(port);
      const kept = new Map(reader.entries.map(({ seq, text }) => [seq, text]));
      for (const [seq, text] of acknowledged) expect(kept.get(seq)).toBe(text);
      expect(new Set(reader.texts).size).toBe(reader.texts.length);
      expect(reader.missed).toEqual([]);
    });
  }
});

describe("limits of what is kept", () => {
  test("by entries and by bytes: the oldest go, and a reader is told", async () => {
    for (const [limit, most] of [
      ["--keep-entries=100", 100],
      ["--keep-bytes=20K", 200],
    ] as const) {
      const data = folder();
      const small = ["--ring-bytes", "4096", "--max-frame", "1024"];
      const { port } = await relay("--data", data, limit, ...small);
      const ann = await RawClient.join(port);
      for (let i = 0; i < 500; i++) await say(ann, [`m${i}`.padEnd(100, ".")]);
      const reader = await everything(port);
      expect(reader.entries.length).toBeGreaterThan(50);
      expect(reader.entries.length).toBeLessThanOrEqual(most);
      expect(reader.texts.at(-1)).toBe("m499".padEnd(100, "."));
      const logId = reader.welcomed?.logId as Uint8Array;
      const late = await RawClient.join(port, { start: { kind: "after", logId, seq: 10 } });
      await until("the rest", () => late.entries.at(-1)?.seq === 500);
      const oldest = reader.entries[0]?.seq ?? 0;
      expect(late.missed).toEqual([{ first: 11, count: oldest - 11 }]);
      expect(late.texts).toEqual(reader.texts);
    }
  });

  test("by age: what is too old is gone, also from files that nobody has open", async () => {
    const data = folder();
    const first = await relay("--data", data, "--keep-age", "2");
    const logId = (await RawClient.join(first.port)).welcomed?.logId;
    const ann = await RawClient.join(first.port);
    await say(ann, ["old"]);
    await say(await RawClient.join(first.port, { room: OTHER_ROOM }), ["old too"]);
    await first.stop();
    await Bun.sleep(2500);
    const second = await relay("--data", data, "--keep-age", "2");
    await until("the files to be gone", () => readdirSync(join(data, "rooms")).length === 0);
    const reader = await everything(second.port);
    expect(reader.entries).toEqual([]);
    expect(reader.welcomed?.logId).not.toEqual(logId as Uint8Array);
  });

  test("not at all by a folder that is away: who sends is refused, and all is there when it is back", async () => {
    const data = folder();
    const first = await relay("--data", data, "--metrics-port", "0");
    const metrics = await until(
      "the metrics",
      () => first.stdout.match(/metrics at http:\S+:(\d+)\//)?.[1],
    );
    const health = async () => (await fetch(`http://127.0.0.1:${metrics}/healthz`)).status;
    const ann = await RawClient.join(first.port);
    await say(ann, ["before"]);
    expect(await health()).toBe(200);
    renameSync(join(data, "rooms"), join(data, "away"));
    // What comes within a second is written into a file that has another name now.
    await Bun.sleep(1200);
    ann.send("into nothing");
    await until("a refusal", () => ann.closeRemark);
    expect(ann.closeRemark?.code).toBe(12);
    expect(await health()).toBe(503);
    const bob = await RawClient.join(first.port);
    expect([bob.welcomed, bob.closeRemark?.code]).toEqual([undefined, 12]);
    renameSync(join(data, "away"), join(data, "rooms"));
    const back = await everything(first.port);
    expect(back.texts[0]).toBe("before");
    expect(back.welcomed?.logId).toEqual(ann.welcomed?.logId as Uint8Array);
    await say(back, ["after"]);
  });

  test("by descriptors: rooms and clients share what there is", async () => {
    const serve = [SERVER, "--host", "127.0.0.1", "--port", "0", "--data", folder()];
    const few = new RelayProcess(["sh", "-c", 'ulimit -n 1024; exec "$0" "$@"', ...serve]);
    relays.push(few);
    const port = Number(
      await until("the relay to listen", () => few.stdout.match(/listening on \S+:(\d+)\n/)?.[1]),
    );
    expect(few.stdout).toMatch(
      /only \d+ connections and \d+ rooms at a time: the open-file limit is 1024/,
    );
    const many = await Promise.all(Array.from({ length: 200 }, () => RawClient.join(port)));
    expect(many.every(({ welcomed }) => welcomed !== undefined)).toBe(true);
    await say(many[0] as RawClient, ["heard"]);
    await until("it", () => many.every(({ texts }) => texts.includes("heard")));
  });

  test("by rooms: one more is refused, the others go on", async () => {
    const data = folder();
    const { port } = await relay("--data", data, "--keep-rooms", "1");
    const ann = await RawClient.join(port);
    await say(ann, ["first"]);
    const bob = await RawClient.join(port, { room: OTHER_ROOM });
    bob.send("second");
    await until("a refusal", () => bob.closeRemark);
    expect(bob.closeRemark?.code).toBe(6);
    expect(bob.closeRemark?.text).toContain("keeps 1 rooms already");
    await say(ann, ["third"]);
  });
});

test("a clock that is set a year forward or back makes nothing old, and loses nothing", async () => {
  const data = folder();
  const clock = join(scratch.path, "clock");
  const set = (offset: string) => writeFileSync(clock, `${offset}\n`);
  set("+0");
  const library = "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1";
  const environment = {
    LD_PRELOAD: library,
    FAKETIME_TIMESTAMP_FILE: clock,
    FAKETIME_NO_CACHE: "1",
    FAKETIME_DONT_FAKE_MONOTONIC: "1",
  };
  const flags = ["--host", "127.0.0.1", "--port", "0", "--data", data, "--keep-age", "3600"];
  const program = new Program([SERVER, ...flags], environment);
  const port = Number(
    await until("the relay to listen", () => program.stdout.match(/listening on \S+:(\d+)\n/)?.[1]),
  );
  const ann = await RawClient.join(port);
  await say(ann, ["now"]);
  for (const [offset, year] of [
    ["+365d", 1],
    ["-365d", -1],
  ] as const) {
    set(offset);
    const before = program.stdout.length;
    await say(ann, [`in year ${year}`]);
    await everything(port);
    // The log has the time that was set: the relay did see the jump.
    const logged = await until(
      "a line",
      () => program.stdout.slice(before).match(/^(\d{4})/m)?.[1],
    );
    expect(Number(logged)).toBe(new Date().getFullYear() + year);
  }
  const reader = await everything(port);
  expect(reader.texts).toEqual(["now", "in year 1", "in year -1"]);
  expect(ann.closed).toBe(false);
  program.kill();
  expect(await program.exited()).toBe(0);
});

describe("a damaged file", () => {
  async function twoRooms(data: string): Promise<void> {
    const before = await relay("--data", data, "--ring-bytes", "4096", "--max-frame", "1024");
    const ann = await RawClient.join(before.port);
    for (let i = 0; i < 200; i++) await say(ann, [`m${i}`.padEnd(500, String(i % 10))]);
    await say(await RawClient.join(before.port, { room: OTHER_ROOM }), numbered(10, "other"));
    await before.stop();
  }

  for (const [what, damage] of [
    [
      "whose beginning is overwritten",
      (path: string) => overwrite(path, 0, Buffer.alloc(4096, 0x5a)),
    ],
    ["that is cut off", (path: string) => truncateSync(path, 20_000)],
    ["that is no database", (path: string) => writeFileSync(path, "something else\n".repeat(100))],
  ] as const) {
    test(`${what} is named and put aside; the room begins anew, others are as they were`, async () => {
      const data = folder();
      await twoRooms(data);
      damage(roomFile(data));
      const after = await relay("--data", data);
      const other = await everything(after.port, OTHER_ROOM);
      expect(other.texts).toEqual(numbered(10, "other"));
      const ann = await RawClient.join(after.port, { start: ALL });
      await say(ann, ["new"]);
      await until("the log to name it", () => after.stdout.includes(roomFile(data)));
      expect(after.stdout).toMatch(/error .*\.db is damaged|error .*\.db has not the format/);
      expect(readdirSync(join(data, "rooms")).some((name) => name.includes(".damaged-"))).toBe(
        true,
      );
      const again = await everything(after.port);
      expect(again.texts.at(-1)).toBe("new");
    });
  }

  test("with one bad entry loses that one only, and says so", async () => {
    const data = folder();
    await twoRooms(data);
    const path = roomFile(data);
    const at = readFileSync(path).indexOf("m50".padEnd(500, "0"));
    expect(at).toBeGreaterThan(0);
    overwrite(path, at + 10, Buffer.from("X"));
    const after = await relay("--data", data);
    const reader = await everything(after.port);
    expect(reader.missed).toEqual([{ first: 51, count: 1 }]);
    expect(reader.entries.length).toBe(199);
    expect(after.stdout).toContain(`entries 51 to 51 in ${path} are damaged and dropped`);
  });
});

function overwrite(path: string, at: number, bytes: Uint8Array): void {
  const file = openSync(path, "r+");
  writeSync(file, bytes, 0, bytes.length, at);
  closeSync(file);
}

describe("a full disk", () => {
  const rootTest: typeof test | ReturnType<typeof leftOut> =
    process.getuid?.() === 0 ? test : leftOut("needs root, to mount a small disk");

  rootTest("refuses senders until there is room again; readers and other rooms go on", async () => {
    const data = folder();
    mkdirSync(data);
    expect(Bun.spawnSync(["mount", "-t", "tmpfs", "-o", "size=2m", "none", data]).exitCode).toBe(0);
    try {
      const full = await relay("--data", data, "--ring-bytes", "64K", "--max-frame", "4096");
      const reader = await RawClient.join(full.port);
      const ann = await RawClient.join(full.port);
      await say(ann, numbered(10));
      writeFileSync(join(data, "ballast"), Buffer.alloc(3 << 20).subarray(0, freeBytes(data)));
      for (let i = 0; i < 2000 && ann.closeRemark === undefined; i++) {
        ann.send("x".repeat(2000));
        await Bun.sleep(1);
      }
      expect(ann.closeRemark?.code).toBe(12);
      expect(ann.closeRemark?.text).toContain("can't store entries now");
      // What was acknowledged is what everybody has, and the reader was not disturbed.
      await until("the reader to have as much", () => reader.entries.length >= ann.entries.length);
      expect(reader.closed).toBe(false);
      expect(reader.texts.slice(0, ann.entries.length)).toEqual(ann.texts);
      expect(full.stdout).toMatch(/error .*(full|SQLITE_FULL)/);
      Bun.spawnSync(["rm", join(data, "ballast")]);
      const back = await RawClient.join(full.port);
      await say(back, ["there is room"]);
      await until("the reader to hear it", () => reader.texts.at(-1) === "there is room");
      const seqs = reader.entries.map((entry) => entry.seq);
      expect(new Set(seqs).size).toBe(seqs.length);
      expect(await full.stop()).toBe(0);
    } finally {
      Bun.spawnSync(["umount", "-l", data]);
    }
  });
});

function freeBytes(path: string): number {
  const { stdout } = Bun.spawnSync(["df", "--output=avail", "-B1", path]);
  return Number(stdout.toString().split("\n")[1]);
}
