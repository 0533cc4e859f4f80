import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { ProtocolError } from "../src/protocol/errors.ts";
import {
  encodeFrame,
  FrameParser,
  readU32,
  readU64,
  writeU32,
  writeU64,
} from "../src/protocol/frame.ts";

type Frame = { type: number; body: number[] };

function collect(parser: FrameParser, chunks: Uint8Array[]): Frame[] {
  const frames: Frame[] = [];
  for (const chunk of chunks) {
    parser.feed(chunk, (type, bytes, start, end) => {
      frames.push({ type, body: [...bytes.subarray(start, end)] });
      return undefined;
    });
  }
  return frames;
}

const frameArbitrary = fc.record({
  type: fc.integer({ min: 0, max: 255 }),
  body: fc.uint8Array({ maxLength: 60 }),
});

function cut(bytes: Uint8Array, at: number[]): Uint8Array[] {
  const places = [...new Set(at.map((n) => n % (bytes.length + 1)))].sort((a, b) => a - b);
  return [0, ...places].map((start, i) => bytes.subarray(start, places[i] ?? bytes.length));
}

describe("frames", () => {
  test("come out as they went in, wherever the stream is cut", () => {
    fc.assert(
      fc.property(
        fc.array(frameArbitrary, { maxLength: 20 }),
        fc.array(fc.nat(2000), { maxLength: 30 }),
        (frames, cuts) => {
          const stream = Buffer.concat(frames.map((f) => encodeFrame(f.type, f.body)));
          const got = collect(new FrameParser(1000), cut(stream, cuts));
          expect(got).toEqual(frames.map((f) => ({ type: f.type, body: [...f.body] })));
        },
      ),
      { numRuns: 500 },
    );
  });

  test("come out when the stream is cut at every byte", () => {
    const stream = Buffer.concat([
      encodeFrame(1, Buffer.from("first")),
      encodeFrame(2, Buffer.from("")),
    ]);
    for (let at = 0; at <= stream.length; at++) {
      const got = collect(new FrameParser(), [stream.subarray(0, at), stream.subarray(at)]);
      expect(got.map((f) => f.type)).toEqual([1, 2]);
    }
    const bytes = [...stream].map((byte) => Uint8Array.of(byte));
    expect(collect(new FrameParser(), bytes).map((f) => f.type)).toEqual([1, 2]);
  });

  test("are never kept beyond the limit, and garbage ends in a ProtocolError at worst", () => {
    fc.assert(
      fc.property(fc.array(fc.uint8Array({ maxLength: 300 }), { maxLength: 20 }), (chunks) => {
        const parser = new FrameParser(200);
        try {
          for (const chunk of chunks) {
            parser.feed(chunk, () => undefined);
            expect(parser.held).toBeLessThanOrEqual(204);
          }
        } catch (error) {
          expect(error).toBeInstanceOf(ProtocolError);
        }
      }),
      { numRuns: 2000 },
    );
  });

  test("that are empty or too large are refused by name", () => {
    const feed = (bytes: number[]) => () =>
      new FrameParser(100).feed(Uint8Array.from(bytes), () => undefined);
    expect(feed([0, 0, 0, 0])).toThrow("an empty frame");
    expect(feed([0, 0, 0, 101])).toThrow("a frame of 101 bytes; at most 100 are allowed");
    expect(feed([0, 0, 0, 100, 1])).not.toThrow();
  });

  test("a promised length alone takes no memory", () => {
    const parser = new FrameParser();
    parser.feed(Uint8Array.of(0, 0, 0xff, 0xff, 1), () => undefined);
    expect(parser.held).toBe(5);
  });

  test("the handler's false stops the parser", () => {
    let seen = 0;
    const two = Buffer.concat([encodeFrame(1, Buffer.from("a")), encodeFrame(1, Buffer.from("b"))]);
    new FrameParser().feed(two, () => {
      seen += 1;
      return false;
    });
    expect(seen).toBe(1);
  });
});

test("numbers round-trip; those above 2^53 - 1 are refused", () => {
  const bytes = new Uint8Array(8);
  fc.assert(
    fc.property(fc.maxSafeNat(), (value) => {
      writeU64(bytes, 0, value);
      expect(readU64(bytes, 0)).toBe(value);
      writeU32(bytes, 0, value >>> 0);
      expect(readU32(bytes, 0)).toBe(value >>> 0);
    }),
  );
  expect(() => readU64(new Uint8Array(8).fill(0xff), 0)).toThrow(ProtocolError);
});
