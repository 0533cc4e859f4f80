import { expect, test } from "bun:test";
import fc from "fast-check";
import { decodeEntry, ENTRY_HEADER_BYTES } from "../src/protocol/entry.ts";
import { FrameParser, FrameType } from "../src/protocol/frame.ts";
import { Batch } from "../src/relay/log/batch.ts";
import { Budget } from "../src/relay/log/budget.ts";
import { commit } from "../src/relay/log/commit.ts";
import { Ring } from "../src/relay/log/ring.ts";

const MIB = 1 << 20;

function parsed(frames: Uint8Array): { seq: number; from: number; body: string }[] {
  const entries: { seq: number; from: number; body: string }[] = [];
  new FrameParser(100_000).feed(frames, (_, bytes, start, end) => {
    const { seq, from, body } = decodeEntry(bytes, start, end);
    entries.push({ seq, from, body: Buffer.from(body).toString("latin1") });
    return undefined;
  });
  return entries;
}

/** Everything from entry `seq` on, parsed as a client would. */
const read = (ring: Ring, seq: number) => parsed(ring.copy(ring.positionOf(seq), ring.head));

const body = (i: number, size: number) =>
  Buffer.from(String.fromCharCode(97 + (i % 26)).repeat(size));

/** Sizes of entries: mostly small, some empty, some larger than the ring is meant to be. */
const sizes = fc.array(
  fc.oneof({ weight: 6, arbitrary: fc.nat(300) }, fc.constant(0), fc.nat(1500), fc.nat(9000)),
  { minLength: 1, maxLength: 300 },
);

test("a ring holds the newest entries, whole and in order, whatever their sizes and its memory", () => {
  fc.assert(
    fc.property(sizes, fc.nat(40_000), (all, memory) => {
      const budget = new Budget(memory);
      const ring = new Ring(8192, budget);
      const model: string[] = [];
      for (const [i, size] of all.entries()) {
        model.push(body(i, size).toString());
        expect(ring.append(FrameType.ENTRY, 1, body(i, size), 0, size)).toBe(i + 1);
        const held = read(ring, ring.oldest);
        expect(held[0]?.seq).toBe(ring.oldest);
        expect(held.map((entry) => entry.body)).toEqual(model.slice(ring.oldest - 1));
        expect(budget.used).toBe(ring.capacity * 1.25);
      }
      // It is no larger than it may be, or than its largest entry asks for.
      const largest = Math.max(...all) + ENTRY_HEADER_BYTES;
      expect(ring.capacity).toBeLessThanOrEqual(Math.max(8192, 2 * largest));
      for (let seq = ring.oldest; seq < ring.next; seq++) {
        const begin = ring.positionOf(seq);
        expect(ring.seqAt(begin)).toBe(seq);
        expect(ring.seqAt(ring.positionOf(seq + 1) - 1)).toBe(seq);
      }
      ring.close();
      expect(budget.used).toBe(0);
    }),
    { numRuns: 100 },
  );
});

test("it grows as it is used, and no further than it and all rings together may", () => {
  const budget = new Budget(MIB);
  const ring = new Ring(MIB, budget);
  expect(ring.capacity).toBe(0);
  ring.append(FrameType.ENTRY, 1, body(0, 100), 0, 100);
  expect(ring.capacity).toBe(4096);
  for (let i = 0; i < 20_000; i++) ring.append(FrameType.ENTRY, 1, body(i, 100), 0, 100);
  expect(ring.capacity).toBe(MIB / 2);
  // Another has room for one entry in any case.
  const other = new Ring(MIB, budget);
  for (let i = 0; i < 10; i++) other.append(FrameType.ENTRY, 1, body(i, 300_000), 0, 300_000);
  expect(other.next - other.oldest).toBe(1);
});

test("the smallest entries fill the buffer before they fill the index", () => {
  const ring = new Ring(4096, new Budget(MIB));
  for (let i = 0; i < 1000; i++) ring.append(FrameType.ENTRY, 1, body(i, 0), 0, 0);
  expect(ring.next - ring.oldest).toBe(Math.floor(4096 / ENTRY_HEADER_BYTES));
});

test("whoever reads when told to has every entry of any batch, however small the ring", () => {
  fc.assert(
    fc.property(sizes, fc.integer({ min: 1, max: 40_000 }), (all, runBytes) => {
      const budget = new Budget(MIB);
      const [ring, batch] = [new Ring(4096, budget), new Batch(budget)];
      ring.beginAt(7);
      for (const [i, size] of all.entries()) batch.add(FrameType.ENTRY, i, body(i, size), 0, size);
      const got: { seq: number; from: number; body: string }[] = [];
      let next = 7;
      for (const run of batch.runs(7, runBytes)) {
        expect(parsed(run.bytes).map(({ seq }) => seq)).toEqual(
          Array.from({ length: run.next - run.first }, (_, i) => run.first + i),
        );
        commit(ring, [run], () => {
          expect(ring.oldest).toBeLessThanOrEqual(next);
          got.push(...read(ring, next));
          next = ring.next;
        });
      }
      expect(got).toEqual(
        all.map((size, i) => ({ seq: 7 + i, from: i, body: body(i, size).toString() })),
      );
      batch.close();
      ring.close();
      expect(budget.used).toBe(0);
    }),
    { numRuns: 100 },
  );
});

test("of a batch the first entries can be taken, a connection's be forgotten, and the rest stays", () => {
  fc.assert(
    fc.property(sizes, fc.nat(10_000), fc.nat(3), (all, bytes, forgotten) => {
      const batch = new Batch(new Budget(16 * MIB));
      const model = all.map((size, i) => ({ from: i % 4, body: body(i, size).toString() }));
      for (const { from, body } of model) {
        batch.add(FrameType.ENTRY, from, Buffer.from(body), 0, body.length);
      }
      const run = batch.run(100, bytes);
      const count = run.next - run.first;
      expect(count).toBeGreaterThan(0);
      expect(run.bytes.length <= bytes || count === 1).toBe(true);
      expect(parsed(run.bytes)).toEqual(
        model.slice(0, count).map((entry, i) => ({ seq: 100 + i, ...entry })),
      );
      batch.drop(count);
      batch.forget(forgotten);
      const rest = model.slice(count).filter(({ from }) => from !== forgotten);
      expect(batch.count).toBe(rest.length);
      expect(batch.senders()).toEqual(new Set(rest.map(({ from }) => from)));
      const frames = batch.runs(1, 1e9).map((one) => Buffer.from(one.bytes));
      expect(parsed(Buffer.concat(frames))).toEqual(
        rest.map((entry, i) => ({ seq: i + 1, ...entry })),
      );
      batch.clear();
      expect([batch.bytes, batch.count]).toEqual([0, 0]);
    }),
    { numRuns: 100 },
  );
});

test("a batch takes no more than there is memory for, and says so before it takes any of an entry", () => {
  const batch = new Batch(new Budget(300_000));
  const one = new Uint8Array(10_000);
  expect(() => {
    for (let i = 0; i < 100; i++) batch.add(FrameType.ENTRY, 1, one, 0, one.length);
  }).toThrow("more comes than this relay can hold");
  // 128 KiB in any case, and as far as the memory of all goes.
  expect(batch.count).toBe(Math.floor((256 * 1024) / (10_000 + ENTRY_HEADER_BYTES)));
});
