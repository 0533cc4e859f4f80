/** The log that several relays share, with everything that can go wrong between it and the stream. */
import { afterAll, beforeEach, describe, expect, setDefaultTimeout, test } from "bun:test";
import { jetstreamManager } from "@nats-io/jetstream";
import { connect } from "@nats-io/transport-node";
import { ProtocolError } from "../../src/protocol/errors.ts";
import type { Budget } from "../../src/relay/log/budget.ts";
import { encodeHead } from "../../src/relay/log/jetstream/head.ts";
import { JetStreamLogs } from "../../src/relay/log/jetstream/logs.ts";
import { NatsStream } from "../../src/relay/log/jetstream/nats.ts";
import type { Stream } from "../../src/relay/log/jetstream/stream.ts";
import { type Runtime, SYSTEM } from "../../src/runtime.ts";
import { SimJetStream, SimStream } from "../sim/jetstream.ts";
import { Nats } from "../support/nats.ts";
import { Scratch, until } from "../support/programs.ts";
import { type LogWorld, logContract } from "./log.ts";
import { ManualClock, manualRuntime } from "./manual-clock.ts";
import { clusterOptions, silentReport } from "./nats-stream.ts";
import { OpenedLog } from "./opened-log.ts";

setDefaultTimeout(60_000);

const scratch = new Scratch();
afterAll(() => scratch.remove());

const KEY = "5a".repeat(32);
const SECOND = 1000;
const NOTHING = new Uint8Array(0);
const numbered = (count: number, prefix = "m") =>
  Array.from({ length: count }, (_, i) => `${prefix}${i}`);

let clock: ManualClock;
let runtime: Runtime;
let server: SimJetStream;
let a: SimStream;
let b: SimStream;

beforeEach(() => {
  clock = new ManualClock();
  runtime = manualRuntime(clock);
  server = new SimJetStream(runtime);
  [a, b] = [new SimStream(server), new SimStream(server)];
});

const open = (stream: SimStream, options?: Parameters<typeof OpenedLog.open>[3]) =>
  clock.run(OpenedLog.open(stream, KEY, runtime, options));

/** Two relays' logs of the room, in which there is an entry. */
async function openBoth(): Promise<[OpenedLog, OpenedLog]> {
  const ann = await open(a);
  ann.send("begin");
  await clock.advance(SECOND);
  return [ann, await open(b)];
}

/** Whether a promise has been kept or broken yet. */
function outcome(promise: Promise<unknown>): { state: "pending" | "kept" | "broken" } {
  const is: ReturnType<typeof outcome> = { state: "pending" };
  promise.then(
    () => {
      is.state = "kept";
    },
    () => {
      is.state = "broken";
    },
  );
  return is;
}

describe("logs of a room", () => {
  test("have one order, whoever sends, and continue for who opens it later", async () => {
    const [ann, bob] = await openBoth();
    for (let i = 0; i < 50; i++) {
      ann.send(`a${i}`, 1);
      bob.send(`b${i}`, 2);
      await clock.advance(3);
    }
    await clock.advance(5 * SECOND);
    expect(ann.shown.length).toBe(101);
    expect(bob.shown).toEqual(ann.shown);
    expect(ann.shown.map(({ seq }) => seq)).toEqual(numbered(101).map((_, i) => i + 1));
    for (const who of ["a", "b"]) {
      expect(ann.texts.filter((text) => text.match(/^[ab]\d/)?.[0][0] === who)).toEqual(
        numbered(50, who),
      );
    }
    const cid = await open(a);
    expect([cid.id, cid.ring.next]).toEqual([ann.id, 102]);
    expect(await clock.run(cid.read(1))).toEqual(ann.shown);
    expect([ann.lost, bob.lost, ann.refused]).toEqual([[], [], []]);
  });

  test("take an offer once whose answer got lost, or that lands late", async () => {
    const [ann, bob] = await openBoth();
    for (const fault of ["lostAnswer", "lostRequest", "lateLanding"] as const) {
      a.faults[fault] = 1;
      ann.send(fault);
      await clock.advance(1);
      a.faults[fault] = 0;
      ann.send(`after ${fault}`);
      await clock.advance(8 * SECOND);
    }
    const texts = ["lostAnswer", "lostRequest", "lateLanding"].flatMap((t) => [t, `after ${t}`]);
    expect(ann.texts).toEqual(["begin", ...texts]);
    expect(bob.shown).toEqual(ann.shown);
  });

  test("agree under all faults at once", async () => {
    for (let seed = 1; seed <= 12; seed++) {
      clock = new ManualClock();
      runtime = manualRuntime(clock, seed);
      server = new SimJetStream(runtime);
      const links = [0, 1, 2].map(() => new SimStream(server));
      const logs: OpenedLog[] = [];
      for (const link of links) {
        logs.push(await open(link));
        logs[0]?.send("here is another");
        await clock.advance(SECOND);
      }
      for (const { faults } of links) {
        [faults.lostAnswer, faults.lostRequest, faults.lateLanding] = [0.1, 0.1, 0.1];
        [faults.latency, faults.lag] = [
          [1, 40],
          [0, 400],
        ];
      }
      for (let i = 0; i < 60; i++) {
        for (const [n, log] of logs.entries()) log.send(`${n}:${i}`, n);
        await clock.advance(200);
        const link = links[i % 3] as SimStream;
        if (i % 10 === 3) link.endFollowings(new Error("ended"));
        if (i % 10 === 5) link.silenceFollowings();
        if (i % 20 === 7) link.down();
        if (i % 20 === 10) for (const each of links) each.up();
        if (i % 20 === 15) server.changeLeader(2 * SECOND);
      }
      for (const { faults } of links) {
        faults.lostAnswer = faults.lostRequest = faults.lateLanding = 0;
      }
      await clock.advance(60 * SECOND);
      const [first] = logs;
      expect(logs.map(({ lost, refused }) => [lost, refused])).toEqual(logs.map(() => [[], []]));
      for (const { shown } of logs) {
        const begin = shown[0]?.seq ?? 0;
        expect(shown).toEqual(first?.shown.filter(({ seq }) => seq >= begin) ?? []);
      }
      for (const n of logs.keys()) {
        const own = first?.texts.filter((text) => text.startsWith(`${n}:`));
        expect(own).toEqual(numbered(60, `${n}:`));
      }
    }
  });
});

describe("an empty room", () => {
  test("stays empty if somebody only looks in, comes back to it, and leaves", async () => {
    const ann = await open(a);
    expect(server.followings).toBe(1);
    await clock.run(ann.log.fence("token", undefined));
    expect(await clock.run(ann.log.page(1))).toBeUndefined();
    await clock.run(ann.log.expire());
    await clock.advance(120 * SECOND);
    expect([ann.log.oldest, ann.ring.next]).toEqual([1, 1]);
    await clock.run(ann.log.close());
    expect([server.size, a.published, server.followings]).toEqual([0, 0, 0]);
    await clock.advance(SECOND);
    expect(clock.alarms).toBe(0);
    expect(ann.lost).toEqual([]);
  });

  test("is whose first message comes first; who is second comes back", async () => {
    const [ann, bob] = [await open(a), await open(b)];
    expect(ann.id).not.toBe(bob.id);
    bob.send("bob's");
    ann.send("ann's");
    await clock.advance(SECOND);
    expect([ann.lost.length, bob.lost.length]).toEqual([1, 0]);
    expect(ann.shown).toEqual([]);
    const again = await open(a);
    expect([again.id, again.texts]).toEqual([bob.id, ["bob's"]]);
    again.send("again");
    await clock.advance(SECOND);
    expect(bob.texts).toEqual(["bob's", "again"]);
  });

  test("lets nobody in who has read what another relay has begun, if it was not told of it", async () => {
    const [ann, bob] = [await open(a), await open(b)];
    a.silenceFollowings();
    bob.send("bob's");
    await clock.advance(SECOND);
    await expect(clock.run(ann.log.fence("token", undefined))).rejects.toThrow("has just begun");
    expect(ann.lost.length).toBe(1);
    expect((await open(a)).id).toBe(bob.id);
  });

  test("lets nobody in while nobody can say whether it is empty", async () => {
    const ann = await open(a);
    a.down();
    const is = outcome(ann.log.fence("token", undefined));
    await clock.advance(5 * SECOND);
    a.up();
    expect([is.state, ann.lost]).toEqual(["broken", []]);
    const closing = outcome(ann.log.fence("token", undefined));
    await clock.run(ann.log.close());
    await clock.advance(SECOND);
    expect(closing.state).toBe("broken");
  });

  test("lets a fence hold what is sent while it asks whether there is something", async () => {
    const ann = await open(a);
    a.faults.latency = [500, 500];
    const fence = ann.log.fence("token", 7);
    const is = outcome(fence);
    ann.send("old", 7);
    await clock.advance(1200);
    expect(is.state).toBe("pending");
    await clock.run(fence);
    expect([ann.texts, ann.lost]).toEqual([["old"], []]);
  });

  test("lets a fence hold what is under way, also before the first message is there", async () => {
    const ann = await open(a);
    a.faults.lateLanding = 1;
    ann.send("late", 7);
    await clock.advance(1);
    a.faults.lateLanding = 0;
    const fence = ann.log.fence("token", 7);
    const is = outcome(fence);
    await clock.advance(100);
    expect(is.state).toBe("pending");
    await clock.advance(8 * SECOND);
    expect(is.state).toBe("kept");
    expect(ann.texts).toEqual(["late"]);
  });
});

describe("a room whose messages are gone", () => {
  test("is lost when it is purged, at the next message or when that is noticed, and begins anew", async () => {
    for (const noticed of ["by who sends", "by who looks", "by who reads history"]) {
      const ann = await open(a, { ringBytes: 4096 });
      for (const text of numbered(100)) {
        ann.send(text.padEnd(100, "."));
        await clock.advance(10);
      }
      server.purge(KEY);
      if (noticed === "by who sends") ann.send("into nothing");
      if (noticed === "by who reads history") await clock.run(ann.log.page(1)).catch(() => 0);
      if (noticed === "by who sends") await clock.advance(3 * SECOND);
      if (noticed === "by who looks") await clock.advance(35 * SECOND);
      await clock.advance(100);
      expect(ann.lost.length).toBe(1);
      const again = await open(a);
      expect(again.id).not.toBe(ann.id);
      again.send("anew");
      await clock.advance(SECOND);
      expect(again.shown.map(({ seq, text }) => `${seq} ${text}`)).toEqual(["1 anew"]);
      await clock.run(again.log.close());
      server.purge(KEY);
    }
  });

  test("does not expire while it is open, and says nothing superfluous", async () => {
    server.keepMs = 600 * SECOND;
    const ann = await open(a);
    ann.send("once");
    await clock.advance(SECOND);
    const bob = await open(b);
    for (let i = 0; i < 10; i++) {
      await clock.advance(600 * SECOND);
      expect(server.messages(KEY).length).toBeGreaterThan(0);
    }
    // Twice to two and a half times in the time that is kept, by one of the two.
    expect(a.published + b.published).toBeLessThan(60);
    expect([ann.lost, bob.lost]).toEqual([[], []]);
    await clock.run(ann.log.expire());
    await clock.run(ann.log.close());
    const late = await open(a);
    expect([late.id, late.ring.next, late.log.oldest]).toEqual([ann.id, 2, 2]);
    bob.send("twice");
    await clock.advance(SECOND);
    expect(late.shown.map(({ seq, text }) => `${seq} ${text}`)).toEqual(["2 twice"]);
    await clock.run(late.log.close());
    await clock.run(bob.log.close());
    await clock.advance(700 * SECOND);
    expect(server.size).toBe(0);
    expect((await open(a)).id).not.toBe(ann.id);
  });

  test("is kept up from the age that its last message has", async () => {
    server.keepMs = 600 * SECOND;
    const ann = await open(a);
    ann.send("once");
    await clock.advance(SECOND);
    await clock.run(ann.log.close());
    await clock.advance(500 * SECOND);
    const bob = await open(b);
    await clock.advance(300 * SECOND);
    expect([bob.id, bob.lost, server.size > 0]).toEqual([ann.id, [], true]);
  });

  test("is lost when the stream is another one, even with the same numbers", async () => {
    const ann = await open(a);
    for (const text of ["one", "two"]) {
      ann.send(text);
      await clock.advance(SECOND);
    }
    a.silenceFollowings();
    server.dropStream();
    const bob = await open(b);
    expect(bob.id).not.toBe(ann.id);
    for (const text of ["uno", "due"]) {
      bob.send(text);
      await clock.advance(SECOND);
    }
    expect(server.last(KEY)?.seq).toBe(2);
    await clock.advance(40 * SECOND);
    expect([ann.lost.length, bob.lost.length]).toEqual([1, 0]);
  });

  test("does nothing in vain when it is due to be kept up and something is under way", async () => {
    server.keepMs = 20 * SECOND;
    let alarms = 0;
    const after = clock.after.bind(clock);
    clock.after = (milliseconds, action) => {
      alarms += 1;
      if (alarms > 1000) throw new Error("there is no end of alarms");
      return after(milliseconds, action);
    };
    for (let i = 0; i < 10; i++) {
      const ann = await open(a);
      ann.send("once");
      await clock.advance((4 + i / 4) * SECOND);
      a.down();
      ann.send("twice");
      await clock.advance(7 * SECOND);
      a.up();
      await clock.advance(3 * SECOND);
      expect([ann.texts.slice(-2), ann.lost, ann.refused]).toEqual([["once", "twice"], [], []]);
      await clock.run(ann.log.close());
    }
  });

  test("is lost when a message doesn't follow, is of another log, or is no relay's", async () => {
    const odd = [
      (log: string) => encodeHead({ offer: "x", log, next: 5, replaces: undefined }),
      () => encodeHead({ offer: "x", log: "ab".repeat(16), next: 2, replaces: undefined }),
      () => ({ "X-Odd": "1" }),
    ];
    for (const headers of odd) {
      const ann = await open(a);
      ann.send("one");
      await clock.advance(SECOND);
      server.take(KEY, headers(ann.id), NOTHING, server.last(KEY)?.seq ?? 0);
      await clock.advance(SECOND);
      expect(ann.lost.length).toBe(1);
      server.purge(KEY);
    }
  });
});

describe("history", () => {
  async function filled(count = 400): Promise<OpenedLog> {
    const ann = await open(a, { ringBytes: 4096 });
    let others = 0;
    for (let i = 0; i < count; i += 4) {
      for (let j = i; j < i + 4; j++) ann.append(`m${j}`.padEnd(60 + (j % 50), "."));
      ann.log.flush();
      if (i % 40 === 0) others = server.take("other", {}, NOTHING, others);
      await clock.advance(10);
      if (i % 100 === 0) await clock.run(ann.log.fence("word", undefined));
    }
    expect(ann.ring.oldest).toBeGreaterThan(300);
    return ann;
  }
  const seqs = (entries: readonly { seq: number }[]) => entries.map(({ seq }) => seq);
  const from = (first: number, next: number) =>
    Array.from({ length: next - first }, (_, i) => first + i);

  test("can be read from any entry on, in any order, without a gap", async () => {
    const ann = await filled();
    for (const seq of [1, 399, 7, 8, 9, 100, 99, 101, 250, 2, 1, 333]) {
      expect(seqs(await clock.run(ann.read(seq)))).toEqual(from(seq, 401));
    }
    expect(ann.log.oldest).toBe(1);
  });

  test("is the same for a relay to which nothing is told in time", async () => {
    const ann = await open(a, { ringBytes: 4096 });
    ann.send("m");
    await clock.advance(SECOND);
    const bob = await open(b, { ringBytes: 4096 });
    b.faults.lag = [900, 900];
    for (let i = 0; i < 200; i++) {
      ann.send(`m${i}`.padEnd(100, "."));
      await clock.advance(20);
      if (i % 20 === 19 && bob.ring.next > 1) {
        const { next } = bob.ring;
        const read = seqs(await clock.run(bob.read(1)));
        expect(read.slice(0, next - 1)).toEqual(from(1, next));
      }
    }
    expect(bob.log.oldest).toBe(1);
    expect(bob.lost).toEqual([]);
  });

  test("that can't be read is an error, and not gone", async () => {
    const ann = await filled();
    server.changeLeader(SECOND);
    await expect(clock.run(ann.log.page(1))).rejects.toThrow("no leader");
    await expect(clock.run(ann.log.expire())).rejects.toThrow();
    expect(ann.log.oldest).toBe(1);
    await clock.advance(2 * SECOND);
    expect(seqs(await clock.run(ann.read(1)))).toEqual(from(1, 401));
    expect(ann.lost).toEqual([]);
  });

  test("begins later when its beginning is gone, and only then", async () => {
    const ann = await filled();
    const held = server.messages(KEY);
    // From the middle.
    const middle = held.findIndex(({ headers }) => headers["Chat-Next"] === "201");
    server.remove(held[middle]?.seq ?? 0);
    expect(seqs(await clock.run(ann.read(197)))).toEqual(from(201, 401));
    expect(ann.log.oldest).toBe(1);
    expect(seqs(await clock.run(ann.read(1)))).toEqual([...from(1, 197), ...from(201, 401)]);
    // From the beginning.
    for (const { seq } of held.slice(0, 10)) server.remove(seq);
    const [first] = await clock.run(ann.read(1));
    expect(first?.seq).toBeGreaterThan(1);
    expect(ann.log.oldest).toBe(first?.seq ?? 0);
    for (const { seq } of held.slice(0, middle)) server.remove(seq);
    await clock.run(ann.log.expire());
    expect(ann.log.oldest).toBe(201);
  });

  test("begins after what is another log's, of which the stream held as much before", async () => {
    const ann = await open(a, { ringBytes: 4096 });
    const send = async (log: OpenedLog, texts: readonly string[]) => {
      for (const text of texts) {
        log.send(text.padEnd(100, "."));
        await clock.advance(10);
      }
    };
    await send(ann, numbered(20));
    a.silenceFollowings();
    server.dropStream();
    const bob = await open(b);
    await send(bob, numbered(20, "b"));
    // It has not noticed, and is right about the last message's number.
    await send(ann, numbered(60, "a"));
    await clock.run(ann.log.fence("token", undefined));
    expect([ann.lost.length, bob.lost.length, server.messages(KEY).length]).toEqual([0, 1, 81]);
    const cid = await open(b, { ringBytes: 4096 });
    expect([cid.id, cid.ring.next, cid.log.oldest]).toEqual([ann.id, 81, 21]);
    for (const seq of [21, 30, 1]) {
      expect(seqs(await clock.run(cid.read(seq)))).toEqual(from(Math.max(21, seq), 81));
    }
    await clock.run(cid.log.expire());
    expect([cid.log.oldest, cid.lost]).toEqual([21, []]);
  });

  test("can be read again, as far as it goes, after another log's message in its middle", async () => {
    const ann = await open(a, { ringBytes: 4096 });
    for (const text of numbered(5)) {
      ann.send(text);
      await clock.advance(10);
    }
    await clock.run(ann.log.close());
    const last = server.last(KEY) ?? { seq: 0, headers: {}, data: NOTHING };
    server.remove(last.seq);
    const odd = encodeHead({ offer: "x", log: "ab".repeat(16), next: 9, replaces: undefined });
    const before = server.take(KEY, odd, NOTHING, last.seq - 1);
    server.take(KEY, last.headers, last.data, before);
    const bob = await open(b);
    await expect(clock.run(bob.log.page(1))).rejects.toThrow("is of another log");
    expect(seqs(await clock.run(bob.read(1)))).toEqual([5]);
    expect([bob.log.oldest, bob.lost]).toEqual([5, []]);
  });

  test("is what others' limits leave of it", async () => {
    const ann = await filled();
    server.maxMessages = 1;
    await clock.run(ann.log.expire());
    expect(await clock.run(ann.log.page(1))).toBeUndefined();
    expect(ann.log.oldest).toBe(ann.ring.oldest);
    expect(ann.lost).toEqual([]);
  });
});

describe("fences", () => {
  test("drop what was not under way, and resolve after all that came before", async () => {
    const [ann, bob] = await openBoth();
    bob.holders.set("token", 8);
    b.faults.latency = [200, 200];
    for (const text of numbered(3, "old ")) bob.send(text, 8);
    ann.send("under way", 7);
    ann.send("waits", 7);
    ann.send("another's", 9);
    const fence = ann.log.fence("token", 7);
    let before: string[] | undefined;
    fence.then(() => {
      before = [...ann.texts];
    });
    await clock.run(fence);
    await clock.advance(5 * SECOND);
    expect(before).toEqual(["begin", "under way"]);
    // Bob's was told before his next offer was made: nothing of the old connection came.
    expect(ann.texts).toEqual(["begin", "under way", "another's"]);
    expect(bob.shown).toEqual(ann.shown);
    expect([ann.replaced, bob.replaced]).toEqual([["token"], ["token"]]);
  });

  test("that are given up are said to nobody later", async () => {
    const [ann, bob] = await openBoth();
    a.down();
    const fences = ["t1", "t2"].map((token) => outcome(ann.log.fence(token, undefined)));
    await clock.advance(15 * SECOND);
    expect(fences.map(({ state }) => state)).toEqual(["broken", "broken"]);
    a.up();
    await clock.advance(60 * SECOND);
    expect([ann.replaced, bob.replaced]).toEqual([[], []]);
    ann.send("goes on");
    await clock.advance(SECOND);
    expect([bob.texts, bob.replaced]).toEqual([["begin", "goes on"], []]);
  });

  test("that land after they were given up close nothing here", async () => {
    const [ann, bob] = await openBoth();
    a.faults.lateLanding = 1;
    a.faults.late = [20 * SECOND, 20 * SECOND];
    const is = outcome(ann.log.fence("token", undefined));
    await clock.advance(15 * SECOND);
    expect([is.state, server.messages(KEY).length]).toEqual(["broken", 1]);
    await clock.advance(15 * SECOND);
    expect(server.messages(KEY).length).toBe(2);
    expect([ann.replaced, bob.replaced, ann.lost]).toEqual([[], ["token"], []]);
  });

  test("that are pending when it is closed or lost are broken", async () => {
    const ann = await open(a);
    ann.send("begin");
    await clock.advance(SECOND);
    const first = outcome(ann.log.fence("token", undefined));
    await clock.run(ann.log.close());
    await clock.advance(0);
    expect(first.state).toBe("broken");
    await expect(ann.log.fence("token", undefined)).rejects.toThrow();
    const bob = await open(b);
    b.down();
    const second = outcome(bob.log.fence("token", undefined));
    server.purge(KEY);
    b.up();
    await clock.advance(5 * SECOND);
    expect([second.state, bob.lost.length]).toEqual(["broken", 1]);
  });
});

describe("memory", () => {
  test("is counted for entries without a body: senders wait, and then nothing is taken", async () => {
    const ann = await open(a, { budgetBytes: 2 << 20 });
    a.down();
    expect(ann.log.congested).toBe(false);
    for (let i = 0; i < 20_000; i++) ann.append("");
    expect(ann.log.congested).toBe(true);
    let failure: unknown;
    for (let i = 0; i < 200_000 && failure === undefined; i++) {
      try {
        ann.append("");
      } catch (error) {
        failure = error;
      }
    }
    expect(failure).toBeInstanceOf(ProtocolError);
    expect((failure as ProtocolError).code).toBe("relay-full");
    expect(ann.refused).toEqual([]);
    const closed = ann.log.close();
    await clock.advance(10 * SECOND);
    await closed;
    ann.ring.close();
    expect(ann.budget.used).toBe(0);
  });
});

describe("a room that is opened again", () => {
  test("does not take what its earlier log has offered for its own", async () => {
    const [first, bob] = await openBoth();
    await clock.run(first.log.close());
    const ann = await open(a);
    a.faults.lateLanding = 1;
    a.faults.late = [5 * SECOND, 5 * SECOND];
    ann.send("late");
    await clock.advance(1);
    a.down();
    a.faults.lateLanding = 0;
    const closed = ann.log.close();
    await clock.advance(4 * SECOND);
    await closed;
    a.up();
    const again = await open(a);
    a.faults.latency = [2 * SECOND, 2 * SECOND];
    again.send("new");
    await clock.advance(20 * SECOND);
    expect(bob.texts).toEqual(["begin", "late", "new"]);
    expect(again.shown).toEqual(bob.shown);
  });
});

describe("a quiet room", () => {
  test("needs hardly any memory for what it has sent", async () => {
    const ann = await open(a);
    for (const text of numbered(2000)) ann.append(text);
    expect(ann.budget.used).toBeGreaterThan(32 * 1024);
    ann.log.flush();
    await clock.advance(SECOND);
    const { used } = ann.budget;
    await clock.run(ann.log.close());
    expect(used - ann.budget.used).toBeLessThanOrEqual(4096);
  });
});

describe("a following", () => {
  test("that ends is replaced", async () => {
    const [ann, bob] = await openBoth();
    b.endFollowings(new Error("consumer deleted"));
    ann.send("two");
    await clock.advance(SECOND);
    expect(bob.texts).toEqual(["begin", "two"]);
    expect(server.followings).toBe(2);
  });

  test("that ends and can't be replaced is the end, but not while the link is down", async () => {
    const [ann, bob] = await openBoth();
    b.faults.noFollowing = true;
    b.down();
    b.endFollowings(new Error("gone"));
    await clock.advance(60 * SECOND);
    expect(bob.lost).toEqual([]);
    b.up();
    await clock.advance(5 * SECOND);
    expect(bob.lost).toEqual([]);
    await clock.advance(10 * SECOND);
    expect(bob.lost.length).toBe(1);
    expect(ann.lost).toEqual([]);
  });

  test("that is of no use, and all after it, is done without", async () => {
    const [ann, bob] = await openBoth();
    b.faults.silent = true;
    b.silenceFollowings();
    for (const text of numbered(5)) {
      ann.send(text);
      await clock.advance(60 * SECOND);
      expect(bob.texts).toEqual(ann.texts);
    }
    expect(server.followings).toBe(2);
  });

  test("that falls silent is noticed, at once by who sends", async () => {
    const [ann, bob] = await openBoth();
    b.silenceFollowings();
    ann.send("two");
    await clock.advance(40 * SECOND);
    expect(bob.texts).toEqual(["begin", "two"]);
    b.silenceFollowings();
    ann.send("three");
    await clock.advance(100);
    bob.send("four");
    await clock.advance(5 * SECOND);
    expect(ann.texts).toEqual(["begin", "two", "three", "four"]);
    expect(bob.shown).toEqual(ann.shown);
    expect(server.followings).toBe(2);
  });
});

describe("when the cluster doesn't answer", () => {
  test("senders are told whose entries are not kept; what lands later counts", async () => {
    const [ann, bob] = await openBoth();
    a.faults.lateLanding = 1;
    a.faults.late = [60 * SECOND, 60 * SECOND];
    ann.send("maybe", 4);
    ann.send("not", 5);
    await clock.advance(9 * SECOND);
    expect(ann.refused).toEqual([]);
    await clock.advance(4 * SECOND);
    expect(ann.refused.map((each) => each.sort())).toEqual([[4, 5]]);
    expect(ann.texts).toEqual(["begin"]);
    a.faults.lateLanding = 0;
    await clock.advance(400 * SECOND);
    // One of the repeated offers has landed, once.
    expect(ann.texts).toEqual(["begin", "maybe"]);
    ann.send("again", 6);
    await clock.advance(SECOND);
    expect(ann.shown.map(({ seq, text }) => `${seq} ${text}`)).toEqual([
      "1 begin",
      "2 maybe",
      "3 again",
    ]);
    expect(bob.shown).toEqual(ann.shown);
    expect([ann.lost, bob.lost]).toEqual([[], []]);
  });

  test("an offer is made again that was refused for one that did not come in the end", async () => {
    const ann = await open(a);
    ann.send("begin");
    await clock.advance(SECOND);
    // A leader that refuses for a message it has not committed, and goes.
    const seq = server.last(KEY)?.seq ?? 0;
    const phantom = server.take(KEY, {}, NOTHING, seq);
    a.silenceFollowings();
    ann.send("on");
    await clock.advance(2);
    server.remove(phantom);
    await clock.advance(5 * SECOND);
    expect([ann.texts, ann.lost]).toEqual([["begin", "on"], []]);
  });

  test("senders are told also if it was another message that came first", async () => {
    const [ann, bob] = await openBoth();
    a.silenceFollowings();
    bob.send("first");
    await clock.advance(100);
    ann.send("second", 5);
    await clock.advance(100);
    server.changeLeader(20 * SECOND);
    await clock.advance(8 * SECOND);
    expect(ann.refused).toEqual([]);
    await clock.advance(8 * SECOND);
    expect(ann.refused).toEqual([[5]]);
    await clock.advance(60 * SECOND);
    expect([ann.texts, ann.lost]).toEqual([["begin", "first"], []]);
  });

  test("closing keeps what was appended, if it can be, and else ends all the same", async () => {
    const [ann, bob] = await openBoth();
    for (const text of numbered(3000)) ann.append(text.padEnd(30, "."));
    await clock.run(ann.log.close());
    await clock.advance(SECOND);
    const all = bob.texts.map((text) => text.replaceAll(".", ""));
    expect(all).toEqual(["begin", ...numbered(3000)]);
    // What is being closed shows nothing more.
    expect([ann.texts, ann.ring.next]).toEqual([["begin"], 2]);
    const cid = await open(a);
    a.down();
    cid.send("lost");
    const closed = outcome(cid.log.close());
    await clock.advance(4 * SECOND);
    expect(closed.state).toBe("kept");
    expect(cid.refused).toEqual([]);
  });
});

logContract({
  name: "a simulated stream",
  keeps: true,
  make: async (budget) => {
    const shared = new SimJetStream(SYSTEM);
    return worldOf(budget, async () => new SimStream(shared));
  },
});

logContract({
  name: "a real stream",
  keeps: true,
  make: async (budget) => {
    const nats = await Nats.start(scratch);
    const world = await worldOf(budget, () =>
      NatsStream.join(clusterOptions(nats, {}), silentReport),
    );
    return { ...world, end: () => world.end().then(() => nats.kill()) };
  },
});

async function worldOf(budget: Budget, join: () => Promise<Stream>): Promise<LogWorld> {
  const begin = async () => new JetStreamLogs(await join(), SYSTEM, budget);
  let logs = await begin();
  return {
    logs,
    budget,
    until: (condition) => until("the log", condition, 30_000).then(() => undefined),
    reopened: async () => {
      await logs.close();
      logs = await begin();
      return logs;
    },
    end: () => logs.close(),
  };
}

describe("over a real nats-server", () => {
  const ends: (() => Promise<unknown>)[] = [];

  afterAll(async () => {
    for (const end of ends.reverse()) await end();
  });

  async function serve(keepSeconds = 0) {
    const nats = await Nats.start(scratch);
    ends.push(() => nats.kill());
    const stream = await NatsStream.join(clusterOptions(nats, { keepSeconds }), silentReport);
    const connection = await connect({ servers: nats.url });
    ends.push(
      () => stream.close(),
      () => connection.close(),
    );
    return { nats, stream, jsm: await jetstreamManager(connection) };
  }

  test("a purged room is lost, and begins anew", async () => {
    const { stream, jsm } = await serve();
    const ann = await OpenedLog.open(stream, KEY, SYSTEM);
    ann.send("one");
    await until("it", () => ann.shown.length === 1);
    await jsm.streams.purge("CHAT-0", { filter: `chat.0.${KEY}` });
    ann.send("two");
    await until("the loss", () => ann.lost.length === 1);
    const again = await OpenedLog.open(stream, KEY, SYSTEM);
    expect(again.id).not.toBe(ann.id);
    again.send("anew");
    await until("it", () => again.shown.length === 1);
    await again.log.close();
  });

  test("an open room doesn't expire", async () => {
    const { stream, jsm } = await serve(2);
    const ann = await OpenedLog.open(stream, KEY, SYSTEM);
    ann.send("one");
    await until("it", () => ann.shown.length === 1);
    // Whoever looks in writes nothing.
    const empty = await OpenedLog.open(stream, "00".repeat(32), SYSTEM);
    const first = (await jsm.streams.info("CHAT-0")).state;
    expect(first.messages).toBe(1);
    await until("three times its age", async () => {
      const { state } = await jsm.streams.info("CHAT-0");
      expect(state.messages).toBeGreaterThan(0);
      return state.last_seq > first.last_seq + 5;
    });
    ann.send("two");
    await until("it", () => ann.shown.length === 2);
    expect([ann.lost, empty.lost]).toEqual([[], []]);
    expect(ann.shown.map(({ seq }) => seq)).toEqual([1, 2]);
    for (const { log } of [ann, empty]) await log.close();
  });

  test("a deleted stream is made again, and its rooms begin anew", async () => {
    const { stream, jsm } = await serve();
    const ann = await OpenedLog.open(stream, KEY, SYSTEM);
    ann.send("one");
    await until("it", () => ann.shown.length === 1);
    await jsm.streams.delete("CHAT-0");
    ann.send("two");
    await until("the loss", () => ann.lost.length === 1);
    const again = await OpenedLog.open(stream, KEY, SYSTEM);
    again.send("anew");
    await until("it", () => again.shown.length === 1);
    expect(again.id).not.toBe(ann.id);
    await again.log.close();
  });

  test("a server that restarts, and a consumer that is deleted, are no loss", async () => {
    const { nats, stream, jsm } = await serve();
    const ann = await OpenedLog.open(stream, KEY, SYSTEM);
    ann.send("one");
    await until("it", () => ann.shown.length === 1);
    await nats.kill();
    ann.send("two");
    await nats.start();
    await until("it", () => ann.shown.length === 2);
    for await (const { name } of jsm.consumers.list("CHAT-0")) {
      await jsm.consumers.delete("CHAT-0", name);
    }
    const head = encodeHead({ offer: "x", log: ann.id, next: 3, replaces: "told" });
    const after = (await stream.last(KEY))?.seq ?? 0;
    await stream.publish(KEY, head, NOTHING, after);
    await until("what another publishes", () => ann.replaced.length === 1);
    expect(ann.lost).toEqual([]);
    await ann.log.close();
  });
});
