/** Several relays that serve the same rooms over a real NATS server, and what is lost when one of them is: nothing. */
import {
  afterAll,
  afterEach,
  beforeAll,
  describe,
  expect,
  setDefaultTimeout,
  test,
} from "bun:test";
import { Nats } from "./support/nats.ts";
import {
  client,
  joined,
  type Program,
  RelayProcess,
  Scratch,
  SERVER,
  until,
} from "./support/programs.ts";
import { hello, RawClient, sendFrame } from "./support/raw-client.ts";

setDefaultTimeout(120_000);

const ALL = { kind: "last", count: 1e9 } as const;
const scratch = new Scratch();
const running: Program[] = [];
let nats: Nats;

beforeAll(async () => {
  nats = await Nats.start(scratch);
});

afterEach(async () => {
  for (const program of running.splice(0)) {
    program.kill("SIGKILL");
    await program.process.exited;
  }
});

afterAll(async () => {
  await nats.kill();
  scratch.remove();
});

async function relay(...flags: string[]): Promise<RelayProcess> {
  const unlimited = ["--rate", "0", "--byte-rate", "0"];
  const started = await RelayProcess.start("--cluster", nats.url, ...unlimited, ...flags);
  running.push(started);
  return started;
}

const newRoom = () => crypto.getRandomValues(new Uint8Array(32));
const numbered = (count: number, prefix = "m") =>
  Array.from({ length: count }, (_, i) => `${prefix}${i}`);

/** Sequence numbers and texts of what a client got. */
const order = (each: RawClient) => each.entries.map(({ seq, text }) => `${seq} ${text}`);

describe("relays of a cluster", () => {
  test("give all clients of a room everything once and in one order", async () => {
    const relays = await Promise.all([relay(), relay(), relay()]);
    const room = newRoom();
    // Whoever is in an empty room elsewhere when it begins has to come back.
    const opener = await RawClient.join(relays[0]?.port ?? 0, { room });
    opener.send("begin");
    await until("the beginning", () => opener.entries.length === 1);
    const clients = await Promise.all(
      relays.flatMap(({ port }) => [0, 1].map(() => RawClient.join(port, { room }))),
    );
    const logs = new Set(
      clients.map((each) => Buffer.from(each.welcomed?.logId ?? []).toString("hex")),
    );
    expect(logs.size).toBe(1);
    const each = 200;
    for (let i = 0; i < each; i++) {
      for (const [n, sender] of clients.entries()) sender.send(`${n}-${i}`);
      if (i % 10 === 0) await Bun.sleep(2);
    }
    const total = each * clients.length;
    for (const one of clients)
      await until("everything", () => one.entries.length === total, 60_000);
    const [first] = clients;
    for (const one of clients) expect(order(one)).toEqual(order(first as RawClient));
    expect(first?.entries.map((entry) => entry.seq)).toEqual(
      Array.from({ length: total }, (_, i) => i + 2),
    );
    // What one client sent is in the order in which it sent it.
    for (const n of clients.keys()) {
      const own = first?.texts.filter((text) => text.startsWith(`${n}-`));
      expect(own).toEqual(numbered(each, `${n}-`));
    }
    // Other rooms hear nothing.
    const other = await RawClient.join(relays[0]?.port ?? 0, { room: newRoom(), start: ALL });
    expect(other.entries).toEqual([]);
  });

  test("keep a room's history, also what no relay has in memory, and over a restart of all", async () => {
    const room = newRoom();
    const small = ["--ring-bytes", "4096", "--max-frame", "1024"];
    const first = await relay(...small);
    const ann = await RawClient.join(first.port, { room });
    const texts = numbered(1000).map((text, i) => text.padEnd(3 + ((i * 7) % 900), "."));
    for (let i = 0; i < texts.length; i += 50) {
      for (const text of texts.slice(i, i + 50)) ann.send(text);
      await until("what was sent", () => ann.entries.length === Math.min(i + 50, texts.length));
    }
    first.kill("SIGKILL");
    const second = await relay(...small);
    const reader = await RawClient.join(second.port, { room, start: ALL });
    await until("all of it", () => reader.entries.length === texts.length);
    expect(reader.texts).toEqual(texts);
    expect(reader.missed).toEqual([]);
    const tail = await RawClient.join(second.port, { room, start: { kind: "last", count: 300 } });
    await until("the last 300", () => tail.entries.length === 300);
    expect(tail.texts).toEqual(texts.slice(-300));
    reader.send("and on");
    await until("what is new", () => tail.texts.at(-1) === "and on");
    expect(tail.entries.at(-1)?.seq).toBe(1001);
  });

  test("take over a client that comes from another: its cursor is good, its old connection speaks no more", async () => {
    const [a, b] = [await relay(), await relay()];
    const room = newRoom();
    const token = crypto.getRandomValues(new Uint8Array(16));
    const ann = await RawClient.join(a.port, { room, token });
    for (const text of numbered(10)) ann.send(text);
    await until("10 entries", () => ann.entries.length === 10);
    const logId = ann.welcomed?.logId as Uint8Array;
    const start = { kind: "after", logId, seq: 7 } as const;
    const moved = await RawClient.join(b.port, { room, token, start });
    await until("the old connection's end", () => ann.closed);
    expect(ann.closeRemark?.code).toBe(9);
    expect(moved.welcomed).toMatchObject({ newLog: false, start: 8 });
    await until("the rest", () => moved.entries.length === 3);
    moved.send("from b");
    await until("its own", () => moved.texts.at(-1) === "from b");
    expect(moved.texts).toEqual(["m7", "m8", "m9", "from b"]);
  });

  test("give nothing of a connection to anybody once its client has come back, to this relay or another", async () => {
    const [a, b] = [await relay(), await relay()];
    for (const target of [a, b]) {
      const room = newRoom();
      const token = crypto.getRandomValues(new Uint8Array(16));
      const [ann, bystander] = [
        await RawClient.join(a.port, { room, token }),
        await RawClient.join(a.port, { room }),
      ];
      const logId = ann.welcomed?.logId as Uint8Array;
      ann.write(Buffer.concat(numbered(3000).map((text) => sendFrame(text.padEnd(100, ".")))));
      for (let i = 0; i < 100; i++) bystander.send(`by ${i}`);
      // While much of that is on its way.
      await until("some of it", () => ann.entries.length > 0);
      const start = { kind: "after", logId, seq: 0 } as const;
      const moved = await RawClient.join(target.port, { room, token, start });
      const next = moved.welcomed?.next ?? 0;
      moved.send("the last");
      await until("the last", () => moved.texts.includes("the last"));
      await until(
        "all of the bystander's",
        () => bystander.texts.filter((t) => t.startsWith("by ")).length === 100,
      );
      await Bun.sleep(300);
      const old = moved.entries.filter(({ from }) => from === ann.welcomed?.connection);
      expect(old.length).toBeGreaterThan(0);
      expect(old.every(({ seq }) => seq < next)).toBe(true);
      // What came is the beginning of what was sent, and others' entries came once.
      expect(old.map(({ text }) => text.replaceAll(".", ""))).toEqual(numbered(old.length));
      expect(new Set(moved.texts).size).toBe(moved.texts.length);
      for (const each of [ann, bystander, moved]) each.socket?.terminate();
    }
  });

  test("hold back who sends more than the cluster takes, and lose nothing of it", async () => {
    const { port } = await relay("--ring-bytes", "16M");
    const room = newRoom();
    const [ann, bob] = [await RawClient.join(port, { room }), await RawClient.join(port, { room })];
    const texts = numbered(3000).map((text) => text.padEnd(8000, "."));
    const all = Buffer.concat(texts.map(sendFrame));
    for (let at = 0; at < all.length; ) {
      at += ann.socket?.write(all, at, Math.min(1 << 20, all.length - at)) ?? all.length;
      await Bun.sleep(1);
    }
    await until("all of it", () => bob.entries.length === texts.length, 60_000);
    expect(bob.texts).toEqual(texts);
    expect([ann.closed, bob.closed]).toEqual([false, false]);
  });

  test("take what a client sends right behind its HELLO, in whatever pieces it comes", async () => {
    const { port } = await relay();
    const room = newRoom();
    const reader = await RawClient.join(port, { room });
    const bytes = Buffer.concat([hello({ room }), ...numbered(20).map(sendFrame)]);
    for (const cut of [1, 3, 40, 85, 86, 87, 90, bytes.length - 1]) {
      const sender = await RawClient.connect(port);
      const before = reader.entries.length;
      sender.write(bytes.subarray(0, cut));
      await Bun.sleep(5);
      sender.write(bytes.subarray(cut));
      await until("all of it", () => reader.entries.length === before + 20);
      expect(reader.texts.slice(before)).toEqual(numbered(20));
    }
  });

  test("spread rooms over as many streams as all of them say", async () => {
    const own = await Nats.start(scratch);
    const flags = ["--cluster", own.url, "--cluster-streams", "4"];
    const [a, b] = [await RelayProcess.start(...flags), await RelayProcess.start(...flags)];
    running.push(a, b);
    const rooms = Array.from({ length: 16 }, newRoom);
    await Promise.all(
      rooms.map(async (room, i) => {
        const ann = await RawClient.join(a.port, { room });
        ann.send("begin");
        await until("the beginning", () => ann.texts.length === 1);
        const bob = await RawClient.join(b.port, { room });
        ann.send(`in ${i}`);
        await until("it", () => bob.texts.length === 1);
        expect(bob.texts).toEqual([`in ${i}`]);
      }),
    );
    const other = Bun.spawnSync([SERVER, "--port", "0", "--cluster", own.url], { timeout: 10_000 });
    expect(other.exitCode).toBe(69);
    expect(other.stderr.toString()).toContain(
      "it has 4 streams for chats, not 1: --cluster-streams 4",
    );
    await own.kill();
  });

  test("say what is wrong when there is no cluster, or one too many stores", () => {
    const run = (...flags: string[]) =>
      Bun.spawnSync([SERVER, "--host", "127.0.0.1", "--port", "0", ...flags]);
    const none = run("--cluster", "nats://127.0.0.1:1");
    expect(none.exitCode).toBe(69);
    expect(none.stderr.toString()).toContain("is nats-server running there");
    const both = run("--cluster", nats.url, "--data", scratch.path);
    expect(both.exitCode).toBe(64);
    expect(both.stderr.toString()).toContain("--data or --cluster");
  });
});

describe("when something of a cluster is lost", () => {
  test("relays, the NATS server and the link: chats lose nothing, repeat nothing, and agree", async () => {
    const relays = [await relay("--metrics-port", "0"), await relay()];
    const ports = relays.map((each) => each.port);
    const key = scratch.key();
    const nicks = ["ann", "bob", "cid", "dot"];
    const chatters: Program[] = [];
    for (const [i, nick] of nicks.entries()) {
      const chatter = await joined(ports[i % 2] ?? 0, key, nick, "--timeout", "600");
      chatters.push(chatter);
      running.push(chatter);
    }
    let sent = 0;
    const chat = async (milliseconds: number) => {
      const end = performance.now() + milliseconds;
      for (; performance.now() < end; sent++) {
        for (const [i, chatter] of chatters.entries()) chatter.write(`${nicks[i]} ${sent}\n`);
        await Bun.sleep(20);
      }
    };
    const everybodyHasAll = () =>
      until(
        `all of ${sent} rounds`,
        () => chatters.every((each) => each.texts().length >= sent * nicks.length),
        60_000,
      );
    await chat(1000);
    // The NATS server dies and comes back.
    await Promise.all([
      chat(3000),
      Bun.sleep(500)
        .then(() => nats.kill())
        .then(() => Bun.sleep(1000))
        .then(() => nats.start()),
    ]);
    await everybodyHasAll();
    expect(relays[0]?.stdout).toContain("the link to the cluster is down");
    await until("the link to be back", () =>
      relays[0]?.stdout.includes("the link to the cluster is back"),
    );
    // It stands still for longer than a publication waits, with the link up.
    await Promise.all([
      chat(5000),
      Bun.sleep(500)
        .then(() => nats.pause())
        .then(() => Bun.sleep(3500))
        .then(() => nats.resume()),
    ]);
    await everybodyHasAll();
    // A relay dies under load, and another takes its place.
    const [dying] = relays;
    await Promise.all([
      chat(2000),
      (async () => {
        await Bun.sleep(500);
        dying?.kill("SIGKILL");
        await dying?.process.exited;
        await Bun.sleep(300);
        await relay("--port", String(ports[0]));
      })(),
    ]);
    await everybodyHasAll();
    const [first] = chatters;
    for (const chatter of chatters) {
      expect(chatter.texts()).toEqual(first?.texts() ?? []);
      expect(chatter.events().filter((event) => event.event === "warning")).toEqual([]);
    }
    for (const nick of nicks) {
      const own = first?.texts().filter((text) => text.startsWith(`${nick} `));
      expect(own).toEqual(numbered(sent, `${nick} `));
    }
    const late = client(ports[1] ?? 0, key, "--json", "--listen", "--history", "1000000");
    running.push(late);
    await until("the latecomer to have all", () => late.texts().length >= sent * nicks.length);
    expect(late.texts()).toEqual(first?.texts() ?? []);
  });

  test("and for longer: senders are told, readers stay, and it goes on when the cluster is back", async () => {
    const own = await Nats.start(scratch);
    const started = await RelayProcess.start("--cluster", own.url, "--metrics-port", "0");
    running.push(started);
    const room = newRoom();
    const [ann, bob] = [
      await RawClient.join(started.port, { room }),
      await RawClient.join(started.port, { room }),
    ];
    ann.send("before");
    await until("it", () => bob.texts.includes("before"));
    await own.kill();
    ann.send("into nothing");
    await until("a refusal", () => ann.closeRemark, 30_000);
    expect(ann.closeRemark?.code).toBe(12);
    expect(bob.closed).toBe(false);
    const port = started.stdout.match(/metrics at http:\S+:(\d+)\//)?.[1];
    const health = await fetch(`http://127.0.0.1:${port}/healthz`);
    expect([health.status, await health.text()]).toEqual([
      503,
      "the link to the cluster is down\n",
    ]);
    await own.start();
    await until(
      "the link",
      () => started.stdout.includes("the link to the cluster is back"),
      30_000,
    );
    const back = await RawClient.join(started.port, { room });
    back.send("after");
    await until("it", () => bob.texts.includes("after"), 30_000);
    expect(bob.texts).toEqual(["before", "after"]);
    await own.kill();
  });
});
