/** The compiled relay over real sockets, and clients that do what they should not. */
import { afterEach, describe, expect, setDefaultTimeout, test } from "bun:test";
import { readFileSync } from "node:fs";
import { encodeFrame, FrameType } from "../src/protocol/frame.ts";
import { addressKey } from "../src/relay/address.ts";
import { TokenBucket } from "../src/relay/rate.ts";
import { RelayProcess, until } from "./support/programs.ts";
import { hello, RawClient, ROOM, sendFrame } from "./support/raw-client.ts";

setDefaultTimeout(60_000);

const relays: RelayProcess[] = [];

async function relay(...flags: string[]): Promise<RelayProcess> {
  const started = await RelayProcess.start(...flags);
  relays.push(started);
  return started;
}

afterEach(async () => {
  for (const started of relays.splice(0)) {
    // A relay that crashed in a test fails it, whatever the test looked at.
    expect(started.process.exitCode).toBeNull();
    expect(await started.stop()).toBe(0);
    expect(started.stderr).toBe("");
  }
});

const numbered = (count: number, prefix = "m") =>
  Array.from({ length: count }, (_, i) => `${prefix}${i}`);

describe("a room", () => {
  test("gives everyone, the sender too, everything once and in one order", async () => {
    const { port } = await relay();
    const clients = await Promise.all(Array.from({ length: 5 }, () => RawClient.join(port)));
    for (let i = 0; i < 100; i++) clients[i % 5]?.send(`m${i}`);
    for (const client of clients) await until("100 entries", () => client.entries.length === 100);
    const [first] = clients;
    expect(first?.entries.map((e) => e.seq)).toEqual(Array.from({ length: 100 }, (_, i) => i + 1));
    expect(new Set(first?.texts)).toEqual(new Set(numbered(100)));
    for (const client of clients) expect(client.entries).toEqual(first?.entries ?? []);
  });

  test("of 200 clients works, and no other room hears of it", async () => {
    const { port } = await relay();
    const stranger = await RawClient.join(port, { room: new Uint8Array(32).fill(9) });
    const clients = await Promise.all(Array.from({ length: 200 }, () => RawClient.join(port)));
    for (const [i, client] of clients.entries()) client.send(`from ${i}`);
    for (const client of clients) await until("200 entries", () => client.entries.length === 200);
    const order = clients[0]?.texts;
    for (const client of clients) expect(client.texts).toEqual(order ?? []);
    for (const client of clients) client.close();
    expect(stranger.entries).toEqual([]);
  });

  test("begins for a latecomer where it asks: now, the last N, after an entry", async () => {
    const { port } = await relay();
    const sender = await RawClient.join(port);
    for (const text of numbered(10)) sender.send(text);
    await until("10 entries", () => sender.entries.length === 10);
    const logId = sender.welcomed?.logId ?? ROOM;
    const late = async (start: Parameters<typeof hello>[0]) => {
      const client = await RawClient.join(port, start);
      return client;
    };
    const now = await late({ start: { kind: "now" } });
    const last = await late({ start: { kind: "last", count: 3 } });
    const all = await late({ start: { kind: "last", count: 1e9 } });
    const after = await late({ start: { kind: "after", logId, seq: 4 } });
    const future = await late({ start: { kind: "after", logId, seq: 1e9 } });
    const other = await late({ start: { kind: "after", logId: ROOM.slice(0, 16), seq: 4 } });
    sender.send("end");
    for (const client of [now, last, all, after, future, other]) {
      await until("the end", () => client.texts.includes("end"));
    }
    const ten = numbered(10);
    expect(now.texts).toEqual(["end"]);
    expect(last.texts).toEqual([...ten.slice(7), "end"]);
    expect(all.texts).toEqual([...ten, "end"]);
    expect(after.texts).toEqual([...ten.slice(4), "end"]);
    // Who has read more than this log holds has read another.
    expect(future.texts).toEqual([...ten, "end"]);
    expect(future.welcomed?.newLog).toBe(true);
    expect(other.texts).toEqual([...ten, "end"]);
    expect([after.welcomed?.newLog, other.welcomed?.newLog]).toEqual([false, true]);
    expect(after.welcomed).toMatchObject({ oldest: 1, next: 11, start: 5 });
  });

  test("is entered by frames cut at every byte", async () => {
    const { port } = await relay();
    const listener = await RawClient.join(port);
    const stream = Buffer.concat([hello(), sendFrame("one"), sendFrame("two")]);
    const slow = await RawClient.connect(port);
    for (const byte of stream) {
      slow.write(Uint8Array.of(byte));
      await Bun.sleep(1);
    }
    await until("two entries", () => listener.entries.length === 2);
    expect(listener.texts).toEqual(["one", "two"]);
  });

  test("tells that a connection which had spoken is gone, and why", async () => {
    const { port } = await relay();
    const listener = await RawClient.join(port);
    const speaker = await RawClient.join(port);
    const silent = await RawClient.join(port);
    speaker.send("hello");
    await until("hello", () => listener.entries.length === 1);
    silent.close();
    speaker.socket?.terminate();
    await until("GONE", () => listener.gone.length === 1);
    expect(listener.gone).toEqual([{ seq: 2, from: speaker.welcomed?.connection ?? 0, reason: 0 }]);
  });

  test("is forgotten when it has been empty for its time", async () => {
    const { port } = await relay("--room-ttl", "0");
    const first = await RawClient.join(port);
    first.close();
    await Bun.sleep(2200);
    const second = await RawClient.join(port, { start: { kind: "last", count: 5 } });
    expect(second.welcomed?.logId).not.toEqual(first.welcomed?.logId ?? ROOM);
  });
});

describe("a slow reader", () => {
  test("delays nobody, is told what it missed, and goes on from the oldest whole entry", async () => {
    const { port } = await relay("--rate", "0", "--byte-rate", "0", "--ring-bytes", "262144");
    const sender = await RawClient.join(port);
    const quick = await RawClient.join(port);
    const slow = await RawClient.join(port);
    slow.socket?.pause();
    // Far more than the ring and every socket buffer between them hold.
    const total = 3000;
    const filler = "x".repeat(8000);
    for (let i = 0; i < total; i++) {
      while (sender.entries.length + 20 < i) await Bun.sleep(1);
      sender.send(`${i} ${filler}`);
    }
    await until("the quick one to have all", () => quick.entries.length === total, 40_000);
    expect(quick.missed).toEqual([]);
    slow.socket?.resume();
    await until("the slow one to reach the end", () => slow.entries.at(-1)?.seq === total, 40_000);
    expect(slow.missed.length).toBeGreaterThan(0);
    const missed = slow.missed.reduce((sum, m) => sum + m.count, 0);
    expect(slow.entries.length + missed).toBe(total);
    // What it was told fits what it got, entry by entry, and every entry is the right one.
    const gaps = slow.entries.flatMap((e, i) => {
      const before = slow.entries[i - 1]?.seq ?? 0;
      return e.seq === before + 1 ? [] : [{ first: before + 1, count: e.seq - before - 1 }];
    });
    expect(slow.missed).toEqual(gaps);
    for (const { seq, text } of slow.entries) expect(text).toBe(`${seq - 1} ${filler}`);
  });

  test("that never reads costs the relay no memory", async () => {
    const { port, process: server } = await relay("--rate", "0", "--byte-rate", "0");
    const memory = () =>
      Number(readFileSync(`/proc/${server.pid}/statm`, "utf8").split(" ")[1]) * 4096;
    const stalled = await Promise.all(Array.from({ length: 50 }, () => RawClient.join(port)));
    for (const client of stalled) client.socket?.pause();
    const sender = await RawClient.join(port);
    const push = async (count: number) => {
      const target = sender.entries.length + count;
      const filler = "x".repeat(30_000);
      for (let i = 0; i < count; i++) {
        while (target - count + i > sender.entries.length + 8) await Bun.sleep(1);
        sender.send(filler);
      }
      await until("all back", () => sender.entries.length >= target, 40_000);
    };
    await push(500);
    const before = memory();
    await push(2000);
    // 60 MB have passed by 50 clients that read nothing: a queue for each would be 3 GB.
    expect(memory() - before).toBeLessThan(64 << 20);
    for (const client of stalled) client.socket?.terminate();
  });
});

describe("a client that comes back", () => {
  test("continues after its last entry: nothing lost, nothing twice", async () => {
    const { port } = await relay();
    const sender = await RawClient.join(port);
    const token = crypto.getRandomValues(new Uint8Array(16));
    let reader = await RawClient.join(port, { token });
    const got: number[] = [];
    for (let round = 0; round < 10; round++) {
      for (const text of numbered(20, `${round}-`)) sender.send(text);
      const seen = round * 20;
      await until("some entries", () => (reader.entries.at(-1)?.seq ?? 0) > seen);
      got.push(...reader.entries.map((e) => e.seq));
      const seq = got.at(-1) ?? 0;
      const logId = reader.welcomed?.logId ?? ROOM;
      reader.socket?.terminate();
      reader = await RawClient.join(port, { token, start: { kind: "after", logId, seq } });
    }
    await until("the rest", () => (reader.entries.at(-1)?.seq ?? got.at(-1)) === 200);
    got.push(...reader.entries.map((e) => e.seq));
    expect(got).toEqual(Array.from({ length: 200 }, (_, i) => i + 1));
  });

  test("replaces its old connection, which is told and can't speak any more", async () => {
    const { port } = await relay();
    const token = crypto.getRandomValues(new Uint8Array(16));
    const listener = await RawClient.join(port);
    const old = await RawClient.join(port, { token });
    old.send("before");
    await until("before", () => listener.entries.length === 1);
    const fresh = await RawClient.join(port, { token });
    await until("CLOSE", () => old.closeRemark);
    expect(old.closeRemark?.code).toBe(9);
    old.send("after");
    fresh.send("fresh");
    await until("fresh", () => listener.texts.includes("fresh"));
    expect(listener.texts).toEqual(["before", "fresh"]);
    expect(listener.gone.map((g) => g.reason)).toEqual([3]);
    // The same token in another room is another client.
    const elsewhere = await RawClient.join(port, { token, room: new Uint8Array(32).fill(1) });
    await Bun.sleep(50);
    expect([fresh.closed, elsewhere.closed]).toEqual([false, false]);
  });
});

describe("a limit", () => {
  test("on connections refuses and says so, to the client and in the log", async () => {
    const server = await relay("--max-connections", "2");
    const inside = [await RawClient.join(server.port), await RawClient.join(server.port)];
    const refused = await RawClient.connect(server.port);
    await until("CLOSE", () => refused.closeRemark);
    expect(refused.closeRemark).toMatchObject({
      code: 4,
      text: expect.stringContaining("2 connections are in use"),
    });
    await until("the end", () => refused.closed);
    await until("the log", () => server.stdout.includes("refused (relay-full)"));
    inside[0]?.close();
    await Bun.sleep(100);
    expect((await RawClient.join(server.port)).welcomed).toBeDefined();
  });

  test("on connections from one address", async () => {
    const { port } = await relay("--max-per-address", "1");
    await RawClient.join(port);
    const refused = await RawClient.connect(port);
    await until("CLOSE", () => refused.closeRemark);
    expect(refused.closeRemark?.code).toBe(5);
  });

  test("on rooms holds for those with members; an empty one gives way", async () => {
    const { port } = await relay("--max-rooms", "2");
    const room = (n: number) => RawClient.join(port, { room: new Uint8Array(32).fill(n) });
    const first = await room(1);
    await room(2);
    expect((await room(3)).closeRemark?.code).toBe(6);
    first.close();
    await Bun.sleep(100);
    expect((await room(3)).welcomed).toBeDefined();
  });

  test("on frames refuses the larger and lets the largest pass", async () => {
    const { port } = await relay("--max-frame", "1024");
    const client = await RawClient.join(port);
    expect(client.welcomed?.maxFrame).toBe(1024);
    client.send("x".repeat(1023));
    await until("the largest", () => client.entries.length === 1);
    client.send("x".repeat(1024));
    await until("CLOSE", () => client.closeRemark);
    expect(client.closeRemark).toMatchObject({
      code: 3,
      text: expect.stringContaining("1025 bytes"),
    });
  });

  test("on time for the handshake closes who says nothing, and who says half", async () => {
    const { port } = await relay("--handshake-timeout", "1");
    const silent = await RawClient.connect(port);
    const half = await RawClient.connect(port);
    half.write(hello().subarray(0, 20));
    for (const client of [silent, half]) {
      await until("CLOSE", () => client.closeRemark);
      expect(client.closeRemark?.code).toBe(7);
    }
  });

  test("on silence pings, then closes who does not answer, and keeps who does", async () => {
    const { port } = await relay("--ping", "1");
    const alive = await RawClient.join(port);
    const dead = await RawClient.join(port);
    dead.answersPings = false;
    dead.send("I was here");
    await until("CLOSE", () => dead.closeRemark);
    expect(dead.pings).toBeGreaterThan(0);
    expect(dead.closeRemark?.code).toBe(8);
    await until("GONE", () => alive.gone.length === 1);
    expect(alive.gone[0]?.reason).toBe(1);
    await Bun.sleep(2500);
    expect(alive.closed).toBe(false);
    alive.write(encodeFrame(FrameType.PING, new Uint8Array(8)));
    await until("PONG", () => alive.pongs === 1);
  });

  test("on silence is none for who is not read because of its rate", async () => {
    const { port } = await relay("--rate", "10", "--ping", "1");
    const reader = await RawClient.join(port);
    const fast = await RawClient.join(port);
    // Half as many again as it may have at once: five seconds, in which its pongs aren't read either.
    fast.write(Buffer.concat(numbered(70).map(sendFrame)));
    await until("all of it", () => reader.entries.length === 70);
    await Bun.sleep(4500);
    expect([fast.closed, fast.closeRemark]).toEqual([false, undefined]);
    fast.send("heard");
    await until("it", () => reader.texts.at(-1) === "heard");
  });

  test("on the rate slows the sender, says so once, and loses nothing", async () => {
    const server = await relay("--rate", "50");
    const listener = await RawClient.join(server.port);
    const sender = await RawClient.join(server.port);
    sender.write(Buffer.concat(numbered(200).map(sendFrame)));
    await until("the first 200", () => listener.entries.length === 200);
    // What has been read is served; 100 more than the burst are paid for at 50 a second.
    const began = performance.now();
    sender.write(Buffer.concat(numbered(10, "n").map(sendFrame)));
    await until("all", () => listener.entries.length === 210, 20_000);
    expect(performance.now() - began).toBeGreaterThan(1500);
    expect(listener.texts).toEqual([...numbered(200), ...numbered(10, "n")]);
    expect(sender.notices.map((n) => n.code)).toEqual([11]);
    expect(listener.notices).toEqual([]);
    expect(server.stdout).toContain("slowed down (rate-limited)");
  });
});

describe("a bad client", () => {
  const cases: [string, Uint8Array, number, string][] = [
    ["HTTP", Buffer.from("GET / HTTP/1.1\r\n\r\n"), 3, "bytes"],
    ["an empty frame", Uint8Array.of(0, 0, 0, 0), 2, "empty frame"],
    ["SEND before HELLO", sendFrame("x"), 2, "must be HELLO"],
    ["a HELLO of nothing", encodeFrame(FrameType.HELLO, new Uint8Array(0)), 2, "not a chat client"],
    [
      "a HELLO cut short",
      encodeFrame(FrameType.HELLO, hello().subarray(5, 60)),
      2,
      "a HELLO of 55 bytes",
    ],
    [
      "an unknown start",
      encodeFrame(FrameType.HELLO, hello().slice(5).fill(7, 56, 57)),
      2,
      "start 7",
    ],
    [
      "a version of the future",
      encodeFrame(FrameType.HELLO, hello().slice(5).fill(9, 4, 8)),
      1,
      "versions 2313 to 2313",
    ],
    ["a second HELLO", Buffer.concat([hello(), hello()]), 2, "frame type 1"],
    [
      "a relay's frame",
      Buffer.concat([hello(), encodeFrame(FrameType.ENTRY, new Uint8Array(20))]),
      2,
      "frame type 130",
    ],
    [
      "a ping of 7 bytes",
      Buffer.concat([hello(), encodeFrame(FrameType.PING, new Uint8Array(7))]),
      2,
      "8 bytes",
    ],
  ];
  for (const [name, bytes, code, words] of cases) {
    test(`that sends ${name} is told and closed, and the others go on`, async () => {
      const { port } = await relay();
      const other = await RawClient.join(port);
      const bad = await RawClient.connect(port);
      bad.write(bytes);
      await until("CLOSE", () => bad.closeRemark);
      expect(bad.closeRemark).toMatchObject({ code, text: expect.stringContaining(words) });
      await until("the end", () => bad.closed);
      other.send("still here");
      await until("an entry", () => other.texts.includes("still here"));
    });
  }

  test("that sends random bytes, a thousand times, harms nobody", async () => {
    const { port } = await relay("--quiet");
    const other = await RawClient.join(port);
    for (let batch = 0; batch < 20; batch++) {
      const bad = await Promise.all(Array.from({ length: 50 }, () => RawClient.connect(port)));
      for (const [i, client] of bad.entries()) {
        const noise = crypto.getRandomValues(new Uint8Array(1 + ((batch * 50 + i) % 300)));
        // Half of them are in the room first, and half of the noise has a length that fits.
        if (i % 2 === 0) client.write(hello());
        client.write(i % 4 < 2 ? noise : encodeFrame(noise[0] ?? 0, noise.subarray(1)));
      }
      await Bun.sleep(5);
      for (const client of bad) client.socket?.terminate();
    }
    other.send("still here");
    await until("an entry", () => other.texts.includes("still here"));
  });

  test("that closes only its own side is let go", async () => {
    const { port } = await relay();
    const half = await RawClient.join(port);
    half.socket?.shutdown();
    await until("the relay to close", () => half.closed);
  });
});

test("on SIGTERM everybody gets what is there and is told, and the exit code is 0", async () => {
  const server = await RelayProcess.start();
  const clients = await Promise.all(Array.from({ length: 10 }, () => RawClient.join(server.port)));
  for (const text of numbered(100)) clients[0]?.send(text);
  await until("the first entries", () => (clients[0]?.entries.length ?? 0) > 0);
  expect(await server.stop()).toBe(0);
  for (const client of clients) {
    await until("CLOSE", () => client.closeRemark);
    expect(client.closeRemark?.code).toBe(10);
    expect(client.texts).toEqual(numbered(client.entries.length));
  }
  expect(server.stdout).toContain("SIGTERM: closing 10 connections");
});

test("a port in use is an error that says what to do", async () => {
  const { port } = await relay();
  const second = Bun.spawnSync([
    `${import.meta.dir}/../chat-server`,
    "--host",
    "127.0.0.1",
    "--port",
    String(port),
  ]);
  expect(second.exitCode).toBe(69);
  expect(second.stderr.toString()).toContain(
    "something listens there already; choose another --port",
  );
});

test("the log says in plain words who came and went", async () => {
  const server = await relay();
  const client = await RawClient.join(server.port);
  client.send("x");
  await until("the entry", () => client.entries.length === 1);
  client.close();
  await until("the log", () => server.stdout.includes("disconnected"));
  expect(server.stdout).toMatch(/127\.0\.0\.1:\d+ connected\n/);
  expect(server.stdout).toMatch(/127\.0\.0\.1:\d+ joined room 07070707 \(1 there\)\n/);
  expect(server.stdout).toMatch(/127\.0\.0\.1:\d+ disconnected after \d+ s, 1 entries sent\n/);
});

test("addresses are counted by host, IPv6 by /64", () => {
  expect(addressKey("127.0.0.1")).toBe("127.0.0.1");
  expect(addressKey("::ffff:10.0.0.1")).toBe("10.0.0.1");
  expect(addressKey("2001:db8:1:2:3:4:5:6")).toBe("2001:db8:1:2::/64");
  expect(addressKey("2001:db8::1")).toBe("2001:db8:0:0::/64");
  expect(addressKey("::1")).toBe("0:0:0:0::/64");
  expect(addressKey("fe80::1%eth0")).toBe("fe80:0:0:0::/64");
});

test("a token bucket lets a burst pass and then only its rate", () => {
  const bucket = new TokenBucket(10, 0);
  expect(bucket.take(20, 0)).toBe(0);
  expect(bucket.take(5, 0)).toBe(500);
  expect(bucket.take(0, 500)).toBe(0);
  expect(bucket.take(20, 100_000)).toBe(0);
  expect(new TokenBucket(0, 0).take(1e9, 0)).toBe(0);
});
