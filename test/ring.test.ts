import { expect, test } from "bun:test";
import fc from "fast-check";
import { decodeEntry } from "../src/protocol/entry.ts";
import { FrameParser, FrameType } from "../src/protocol/frame.ts";
import { Ring } from "../src/relay/ring.ts";

/** Everything from position `from` on, parsed as a client would. */
function read(ring: Ring, from: number): { seq: number; body: string }[] {
  const entries: { seq: number; body: string }[] = [];
  new FrameParser(100_000).feed(ring.copy(from, ring.head), (_, bytes, start, end) => {
    const { seq, body } = decodeEntry(bytes, start, end);
    entries.push({ seq, body: Buffer.from(body).toString("latin1") });
    return undefined;
  });
  return entries;
}

test("a ring holds the newest entries, whole and in order, whatever their sizes", () => {
  fc.assert(
    fc.property(fc.array(fc.nat(1500), { minLength: 1, maxLength: 200 }), (sizes) => {
      const ring = new Ring(4096);
      const model: string[] = [];
      for (const [i, size] of sizes.entries()) {
        const body = String.fromCharCode(97 + (i % 26)).repeat(size);
        model.push(body);
        expect(ring.append(FrameType.ENTRY, 1, Buffer.from(body), 0, size)).toBe(i + 1);
        expect(ring.head - ring.tail).toBeLessThanOrEqual(ring.capacity);
        const held = read(ring, ring.tail);
        expect(held[0]?.seq).toBe(ring.oldestSeq);
        expect(held.map((entry) => entry.body)).toEqual(model.slice(ring.oldestSeq - 1));
      }
      for (let seq = ring.oldestSeq; seq < ring.nextSeq; seq++) {
        const begin = ring.positionOf(seq);
        expect(ring.seqAt(begin)).toBe(seq);
        expect(ring.seqAt(ring.positionOf(seq + 1) - 1)).toBe(seq);
        expect(read(ring, begin)[0]?.seq).toBe(seq);
      }
    }),
    { numRuns: 60 },
  );
});

test("tiny entries are bounded by the index before they fill the bytes", () => {
  const ring = new Ring(4096);
  for (let i = 0; i < 1000; i++) ring.append(FrameType.ENTRY, 1, Buffer.from("x"), 0, 1);
  expect(ring.nextSeq).toBe(1001);
  expect(ring.nextSeq - ring.oldestSeq).toBe(64);
  expect(read(ring, ring.tail).map((entry) => entry.seq)).toEqual(
    [...Array(64).keys()].map((i) => 937 + i),
  );
});

test("capacities are rounded up to a power of two, and an empty ring is empty", () => {
  expect(new Ring(5000).capacity).toBe(8192);
  const ring = new Ring(1);
  expect(ring.capacity).toBe(4096);
  expect([ring.oldestSeq, ring.nextSeq, ring.positionOf(1)]).toEqual([1, 1, 0]);
});
