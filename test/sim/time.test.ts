/** The simulator's dice, clock and processes. */
import { describe, expect, test } from "bun:test";
import { pause } from "../../src/runtime.ts";
import { Prng } from "./prng.ts";
import { Scheduler } from "./time.ts";

describe("the dice", () => {
  test("one seed gives one sequence, forks do not depend on what was drawn", () => {
    const [a, b] = [new Prng(7), new Prng(7)];
    const first = [a.u32(), a.u32(), a.u32()];
    expect([b.u32(), b.u32(), b.u32()]).toEqual(first);
    expect(a.fork("x").u32()).toBe(new Prng(7).fork("x").u32());
    expect(a.fork("x").u32()).not.toBe(a.fork("y").u32());
    expect(new Prng(8).u32()).not.toBe(first[0]);
  });

  test("the generator is xoshiro128**", () => {
    // The reference code's results for the state that SHA-256 of "1" begins with.
    const digest = new Bun.CryptoHasher("sha256").update("1").digest();
    const s = [...new Uint32Array(digest.buffer.slice(digest.byteOffset, digest.byteOffset + 16))];
    let [s0, s1, s2, s3] = s.map(BigInt) as [bigint, bigint, bigint, bigint];
    const mask = 0xffff_ffffn;
    const rotl = (x: bigint, k: bigint) => ((x << k) | (x >> (32n - k))) & mask;
    const prng = new Prng(1);
    for (let i = 0; i < 100; i++) {
      const result = (rotl((s1 * 5n) & mask, 7n) * 9n) & mask;
      const t = (s1 << 9n) & mask;
      s2 ^= s0;
      s3 ^= s1;
      s1 ^= s2;
      s0 ^= s3;
      s2 ^= t;
      s3 = rotl(s3, 11n);
      expect(prng.u32()).toBe(Number(result));
    }
  });

  test("draws stay within their bounds and reach them", () => {
    const prng = new Prng("bounds");
    const seen = new Set<number>();
    for (let i = 0; i < 1000; i++) {
      seen.add(prng.range(3, 6));
      const large = prng.magnitude(1, 1000);
      expect(large >= 1 && large <= 1000).toBe(true);
      expect(prng.magnitude(0, 0)).toBe(0);
    }
    expect([...seen].sort()).toEqual([3, 4, 5, 6]);
  });
});

describe("time", () => {
  const begin = (seed = 1) => new Scheduler(new Prng(seed));

  test("events come in the order of their time, and what waits for them at once", () => {
    const scheduler = begin();
    const { clock } = scheduler.process("a");
    const seen: string[] = [];
    const started = clock.now();
    void (async () => {
      await pause(clock, 20);
      seen.push(`waited ${clock.now() - started}`);
      for (let i = 0; i < 100; i++) await undefined;
      seen.push("after a hundred turns");
    })();
    clock.after(30, () => seen.push("30"));
    clock.after(10, () => seen.push("10"));
    clock.after(15, () => seen.push("cancelled")).cancel();
    scheduler.run(25);
    expect(seen).toEqual(["10", "waited 20", "after a hundred turns"]);
    scheduler.run(5);
    expect(seen.at(-1)).toBe("30");
  });

  test("processes' events at one time come in an order that the seed decides; one's own keep theirs", () => {
    const orders = new Set<string>();
    for (let seed = 0; seed < 20; seed++) {
      const scheduler = begin(seed);
      const seen: string[] = [];
      for (const name of ["a", "b"]) {
        const { clock } = scheduler.process(name);
        for (const n of [1, 2]) clock.after(5, () => seen.push(`${name}${n}`));
      }
      scheduler.run(5);
      orders.add(seen.join());
    }
    expect([...orders].sort()).toEqual(["a1,a2,b1,b2", "b1,b2,a1,a2"]);
  });

  test("soon is now, after what is due now, and before any later time", () => {
    const scheduler = begin();
    const { clock } = scheduler.process("a");
    const seen: string[] = [];
    clock.after(1, () => {
      clock.soon(() => {
        seen.push("soon");
        clock.soon(() => seen.push("sooner or later"));
      });
      clock.after(0, () => seen.push("due"));
    });
    clock.after(1, () => seen.push("with it"));
    clock.after(1.001, () => seen.push("later"));
    scheduler.run(2);
    expect(seen.slice(0, 2).sort()).toEqual(["due", "with it"]);
    expect(seen.slice(2)).toEqual(["soon", "sooner or later", "later"]);
  });

  test("a process that is killed does nothing more", () => {
    const scheduler = begin();
    const process = scheduler.process("a");
    const seen: string[] = [];
    let ends = 0;
    process.onEnd(() => {
      ends += 1;
    });
    process.clock.every(10, () => seen.push("tick"));
    process.clock.after(25, () => {
      process.clock.soon(() => seen.push("soon"));
      process.kill();
      process.kill();
      process.clock.after(1, () => seen.push("after"));
    });
    scheduler.run(100);
    expect(seen).toEqual(["tick", "tick"]);
    expect([ends, process.alive]).toEqual([1, false]);
  });

  test("what comes every so often is cancelled, from within too", () => {
    const scheduler = begin();
    const { clock } = scheduler.process("a");
    let ticks = 0;
    const alarm = clock.every(10, () => {
      ticks += 1;
      if (ticks === 3) alarm.cancel();
    });
    scheduler.run(100);
    expect(ticks).toBe(3);
  });

  test("a clock that is set changes the date and nothing else", () => {
    const scheduler = begin();
    const process = scheduler.process("a");
    const [now, date] = [process.clock.now(), process.clock.date()];
    process.setClock(-3_600_000);
    expect([process.clock.now(), process.clock.date()]).toEqual([now, date - 3_600_000]);
  });

  test("a loop that never lets time pass is found", () => {
    const scheduler = begin();
    const { clock } = scheduler.process("a");
    const again = () => clock.soon(again);
    clock.soon(again);
    expect(() => scheduler.run(1)).toThrow("time stands still");
  });
});
