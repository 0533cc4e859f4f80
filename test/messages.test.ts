import { expect, test } from "bun:test";
import fc from "fast-check";
import { ProtocolError } from "../src/protocol/errors.ts";
import {
  decodeHello,
  decodeMissed,
  decodeRemark,
  decodeWelcome,
  encodeHello,
  encodeMissed,
  encodeRemark,
  encodeWelcome,
  negotiate,
} from "../src/protocol/messages.ts";

const bytes = (length: number) => fc.uint8Array({ minLength: length, maxLength: length });
const body = (frame: Uint8Array) => frame.subarray(5);

test("HELLO round-trips", () => {
  const start = fc.oneof(
    fc.constant({ kind: "now" as const }),
    fc.record({ kind: fc.constant("last" as const), count: fc.maxSafeNat() }),
    fc.record({ kind: fc.constant("after" as const), logId: bytes(16), seq: fc.maxSafeNat() }),
  );
  fc.assert(
    fc.property(bytes(32), bytes(16), start, (roomId, token, where) => {
      const hello = { minVersion: 1, maxVersion: 1, roomId, token, start: where };
      expect(decodeHello(body(encodeHello(hello)))).toEqual(hello);
    }),
  );
});

test("WELCOME, MISSED and remarks round-trip", () => {
  const u32 = fc.integer({ min: 0, max: 0xffffffff });
  fc.assert(
    fc.property(
      bytes(16),
      fc.maxSafeNat(),
      fc.maxSafeNat(),
      u32,
      fc.boolean(),
      (logId, a, b, c, newLog) => {
        const welcome = {
          version: 1,
          newLog,
          logId,
          oldest: a,
          next: b,
          start: a,
          connection: c,
          maxFrame: c,
          pingSeconds: 30,
        };
        expect(decodeWelcome(body(encodeWelcome(welcome)))).toEqual(welcome);
        expect(decodeMissed(body(encodeMissed({ first: a, count: b })))).toEqual({
          first: a,
          count: b,
        });
      },
    ),
  );
  expect(decodeRemark(body(encodeRemark(0x86, "replaced", "weg")))).toEqual({
    code: 9,
    text: "weg",
  });
});

test("any bytes decode or are a ProtocolError, for every decoder", () => {
  for (const decode of [decodeHello, decodeWelcome, decodeMissed, decodeRemark]) {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 600 }), (input) => {
        try {
          decode(input);
        } catch (error) {
          expect(error).toBeInstanceOf(ProtocolError);
        }
      }),
      { numRuns: 1000 },
    );
  }
});

test("versions are negotiated, and refused with both ranges", () => {
  expect(negotiate(1, 9)).toBe(1);
  expect(() => negotiate(2, 9)).toThrow(
    "the client speaks protocol versions 2 to 9, this relay 1 to 1",
  );
  expect(() => negotiate(0, 0)).toThrow(ProtocolError);
  expect(() => negotiate(5, 1)).toThrow(ProtocolError);
});
