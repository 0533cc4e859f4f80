import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { software } from "../src/crypto/software.ts";
import { OpeningSessions, PAYLOAD_AT, SealingSession } from "../src/protocol/envelope.ts";
import { ProtocolError } from "../src/protocol/errors.ts";
import { roomId } from "../src/protocol/keys.ts";
import {
  decodePayload,
  encodePayload,
  KINDS,
  LARGEST_BUCKET,
  largestText,
  MAX_TEXT_BYTES,
  type Payload,
  paddedBytes,
} from "../src/protocol/payload.ts";

const KEY = new Uint8Array(32).fill(1);
const ROOM = roomId(KEY, "room");

const text = (maxBytes: number) =>
  fc.string({ unit: "binary", maxLength: 300 }).filter((s) => Buffer.byteLength(s) <= maxBytes);
const payloads = fc.record({
  kind: fc.constantFrom(...KINDS),
  time: fc.maxSafeNat(),
  sender: fc.uint8Array({ minLength: 16, maxLength: 16 }),
  number: fc.maxSafeNat(),
  nick: text(64),
  text: text(2000),
});

const sample = (words: string): Payload => ({
  kind: "text",
  time: 1,
  sender: new Uint8Array(16),
  number: 1,
  nick: "n",
  text: words,
});

/** Seals texts in one session: copies, since a session reuses its buffer. */
function sealed(session: SealingSession, texts: string[]): Uint8Array[] {
  return texts.map((words) => session.seal((b, at) => encodePayload(sample(words), b, at)).slice());
}

const session = (key = KEY, room = ROOM) => new SealingSession(software, key, room);
const receiver = (key = KEY, room = ROOM) => new OpeningSessions(software, key, room);
const verdicts = (opening: OpeningSessions, envelopes: Uint8Array[]) =>
  envelopes.map((envelope) => opening.open(envelope).verdict);

describe("payloads", () => {
  test("come out of an envelope as they went in", () => {
    const sealing = session();
    const opening = receiver();
    fc.assert(
      fc.property(payloads, (payload) => {
        const opened = opening.open(sealing.seal((b, at) => encodePayload(payload, b, at)));
        if (opened.verdict !== "ok") throw new Error(opened.verdict);
        expect(opened.skipped).toBe(0);
        expect(decodePayload(opened.buffer, PAYLOAD_AT, opened.end)).toEqual(payload);
      }),
      { numRuns: 500 },
    );
  });

  test("are padded so that only the bucket shows", () => {
    const sealing = session();
    const sizes = (lengths: number[]) =>
      new Set(
        sealed(
          sealing,
          lengths.map((n) => "x".repeat(n)),
        ).map((e) => e.length),
      );
    expect(sizes([0, 1, 10, 50, 90]).size).toBe(1);
    expect(sizes([91, 200]).size).toBe(1);
    expect([paddedBytes(0), paddedBytes(127), paddedBytes(128), paddedBytes(32_767)]).toEqual([
      127, 127, 255, 32_767,
    ]);
    const longest = sealed(sealing, ["x".repeat(MAX_TEXT_BYTES)])[0] ?? new Uint8Array();
    expect(longest.length).toBe(60 + LARGEST_BUCKET + 32);
    expect(receiver().open(longest).verdict).toBe("ok");
  });

  test("of the length that largestText allows fit into that ciphertext", () => {
    for (const limit of [128, 300, 1024, 5000, 32_768, 65_535]) {
      for (const nick of [0, 3, 64]) {
        const longest = largestText(limit, nick);
        const buffer = new Uint8Array(70_000);
        const payload = { ...sample("t".repeat(longest)), nick: "n".repeat(nick) };
        expect(encodePayload(payload, buffer, 0) + 1).toBeLessThanOrEqual(limit);
      }
    }
  });

  test("of any bytes decode or are a ProtocolError", () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 120, maxLength: 300 }), (bytes) => {
        try {
          decodePayload(bytes, 0, bytes.length);
        } catch (error) {
          expect(error).toBeInstanceOf(ProtocolError);
        }
      }),
      { numRuns: 2000 },
    );
    const clean = new Uint8Array(127);
    encodePayload(sample("hi"), clean, 0);
    expect(decodePayload(clean, 0, 127).text).toBe("hi");
    const dirty = Uint8Array.from(clean);
    dirty[126] = 1;
    expect(() => decodePayload(dirty, 0, 127)).toThrow("dirty padding");
    const kind = Uint8Array.from(clean);
    kind[0] = 99;
    expect(() => decodePayload(kind, 0, 127)).toThrow("unknown kind 99");
    const utf8 = Uint8Array.from(clean);
    utf8[utf8.indexOf(0x68, 34)] = 0xff;
    expect(() => decodePayload(utf8, 0, 127)).toThrow("not UTF-8");
  });
});

describe("an envelope", () => {
  test("has a fresh IV each time, and each session a salt of its own", () => {
    const sealing = session();
    const all = sealed(sealing, Array<string>(200).fill("same"));
    expect(new Set(all.map((e) => Buffer.from(e.subarray(44, 60)).toString("hex"))).size).toBe(200);
    expect(Buffer.compare(session().salt, session().salt)).not.toBe(0);
  });

  test("that is repeated is refused", () => {
    const [a, b] = sealed(session(), ["a", "b"]) as [Uint8Array, Uint8Array];
    expect(verdicts(receiver(), [a, b, a, b])).toEqual(["ok", "ok", "replayed", "replayed"]);
  });

  test("that was overtaken is refused, and the gap is reported", () => {
    const [a, b, c] = sealed(session(), ["a", "b", "c"]) as [Uint8Array, Uint8Array, Uint8Array];
    const opening = receiver();
    opening.open(a);
    expect(opening.open(c)).toMatchObject({ verdict: "ok", skipped: 1 });
    expect(opening.open(b).verdict).toBe("replayed");
  });

  test("after dropped ones tells how many; not when the relay has told", () => {
    const all = sealed(session(), ["a", "b", "c", "d", "e", "f"]);
    const opening = receiver();
    opening.open(all[0] as Uint8Array);
    expect(opening.open(all[3] as Uint8Array)).toMatchObject({ verdict: "ok", skipped: 2 });
    opening.excuseGaps();
    expect(opening.open(all[5] as Uint8Array)).toMatchObject({ verdict: "ok", skipped: 0 });
  });

  test("of another room, or of the same room with another key, is refused", () => {
    const [a] = sealed(session(), ["a"]) as [Uint8Array];
    expect(receiver(KEY, roomId(KEY, "other")).open(a).verdict).toBe("forged");
    expect(receiver(new Uint8Array(32).fill(2)).open(a).verdict).toBe("forged");
  });

  test("moved into another session is refused", () => {
    const one = session();
    const two = session();
    const [a] = sealed(one, ["a"]) as [Uint8Array];
    a.set(two.salt, 4);
    expect(receiver().open(a).verdict).toBe("forged");
  });

  test("with any bit changed is refused and harms nothing that follows", () => {
    const [a, b] = sealed(session(), ["a", "b"]) as [Uint8Array, Uint8Array];
    const opening = receiver();
    for (let bit = 0; bit < a.length * 8; bit++) {
      const forged = Uint8Array.from(a);
      forged[bit >> 3] = (forged[bit >> 3] as number) ^ (1 << (bit & 7));
      expect(opening.open(forged).verdict).toBe("forged");
    }
    expect(verdicts(opening, [a, b])).toEqual(["ok", "ok"]);
  });

  test("of any length and any bytes is refused", () => {
    const opening = receiver();
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 400 }), (bytes) => {
        expect(opening.open(bytes).verdict).toBe("forged");
      }),
      { numRuns: 500 },
    );
    expect(opening.open(new Uint8Array(70_000)).verdict).toBe("forged");
  });

  test("opens in whatever mixture of sessions it comes, more than are remembered included", () => {
    const opening = receiver();
    const sessions = Array.from({ length: 1500 }, () => session());
    for (const one of sessions) expect(verdicts(opening, sealed(one, ["a"]))).toEqual(["ok"]);
    for (const one of sessions) expect(verdicts(opening, sealed(one, ["b"]))).toEqual(["ok"]);
  });
});
