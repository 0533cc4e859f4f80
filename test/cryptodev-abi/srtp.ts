/** CIOCAUTHCRYPT of SRTP's packets: encrypt, then MAC what lies around it too. */
import { describe, expect } from "bun:test";
import {
  answer,
  authCall,
  DECRYPT,
  hex,
  pattern,
  patternWord,
  SRTP,
  session,
  srtp,
  sum,
  WRITE_IV,
} from "../support/crypto-calls.ts";
import { type Cipher, encrypted, hmac } from "../support/crypto-model.ts";
import { vmTest } from "../support/vm.ts";
import { type Bench, EBADMSG, EFAULT, EINVAL, flipped, random } from "./bench.ts";

const CTR: Cipher = { id: 21, name: "aes-ctr", block: 1, iv: 16, keys: [16] };

export function srtpTests(bench: Bench): void {
  describe("SRTP", () => {
    /** Where a packet's parts are: in front of what is encrypted, that, and up to where the MAC goes. */
    const SHAPES: [string, number, number, number][] = [
      ["up to the end of the ciphertext", 12, 100, 112],
      ["a ROC of 4 bytes behind it", 12, 100, 116],
      ["into the ciphertext", 12, 100, 50],
      ["up to where it begins", 12, 100, 12],
      ["nothing in front", 0, 33, 33],
      ["256 bytes in front", 256, 64, 320],
      ["nothing but the header", 12, 0, 12],
      ["a header, nothing, and a ROC", 12, 0, 16],
      ["a whole frame", 12, 1460, 1476],
      ["4,096 bytes in front and behind", 96, 5000, 9096],
    ];

    vmTest("encrypted, then authenticated; decrypted only where that is right", async () => {
      for (const [mac, hash, size] of [
        [7, "sha1", 20],
        [18, "sha256", 32],
      ] as const) {
        const [key, macKey, iv] = [random(16), random(20), random(16)];
        const calls = SHAPES.flatMap(([name, before, len, authLen]) =>
          [10, 4, 0].map((tagLen) => {
            const bytes = Math.max(before + len, authLen) + 8;
            const packet = pattern(bytes, bytes);
            const sealed = Buffer.from(packet);
            encrypted(CTR, key, iv, packet.subarray(before, before + len)).copy(sealed, before);
            const tag = hmac(hash, macKey, sealed.subarray(0, authLen)).subarray(0, tagLen || size);
            return { name, packet, sealed, tag, before, len, authLen, tagLen };
          }),
        );
        const answers = await bench.within(
          [session(21, key, mac, macKey)],
          [
            ...["anon p 10000", "anon t 64", "anon i 16", `put i ${hex(iv)}`],
            ...calls.flatMap(({ packet: { length }, tag, before, len, authLen, tagLen }) => {
              const src = `p+${before}`;
              const common = {
                ...{ flags: SRTP, len, src, dst: src, auth: "p", authLen },
                ...{ iv: "i", ivLen: 16, tag: "t", tagLen },
              };
              const open = authCall({ ...common, op: DECRYPT });
              return [
                ...[`put p ${patternWord(length, length)}`, `put t ${"00".repeat(64)}`],
                ...[authCall(common), `sum p ${length}`, "get t 64"],
                ...[`put t ${hex(flipped(tag, 0))}`, open, `sum p ${length}`],
                ...[`put t ${hex(flipped(tag, tag.length - 1))}`, open, `sum p ${length}`],
                ...[`put t ${hex(tag)}`, open, `sum p ${length}`, "get t 64"],
              ];
            }),
          ],
        );
        for (const [i, { name, packet, sealed, tag, len }] of calls.entries()) {
          const tags = `ok ${hex(tag).padEnd(128, "0")}`;
          const right = `ok ${len} ${tag.length}`;
          expect([name, ...answers.slice(15 * i + 6, 15 * i + 19)]).toEqual([
            ...[name, right, `ok ${sum(sealed)}`, tags],
            ...["ok", EBADMSG, `ok ${sum(sealed)}`, "ok", EBADMSG, `ok ${sum(sealed)}`],
            ...["ok", right, `ok ${sum(packet)}`, tags],
          ]);
        }
      }
    });

    vmTest("each byte that is authenticated counts, and none besides", async () => {
      const [key, macKey, iv] = [random(16), random(20), random(16)];
      const [before, len, authLen] = [4, 16, 24];
      const sealed = random(28);
      const tag = hmac("sha1", macKey, sealed.subarray(0, authLen)).subarray(0, 10);
      const answers = await bench.within(
        [session(21, key, 7, macKey)],
        [...sealed.keys()].map((at) => {
          const data = flipped(sealed, at);
          return srtp({ op: DECRYPT, iv, before, len, authLen, data, tag, tagLen: 10 });
        }),
      );
      expect(answers.map((line) => answer(line).errno)).toEqual(
        [...sealed.keys()].map((at) => (at < authLen ? 74 : 0)),
      );
    });

    vmTest("the null cipher leaves the data; IVs go on, and are told", async () => {
      const [key, macKey, iv] = [random(16), random(20), random(16)];
      const packet = random(64);
      const shape = { before: 0, len: 64, authLen: 64, tagLen: 0, data: packet };
      const answers = await bench.within(
        [session(16, "", 7, macKey), session(21, key, 7, macKey)],
        [srtp(shape), srtp({ ...shape, ses: 2, iv, flags: WRITE_IV }), srtp({ ...shape, ses: 2 })],
      );
      const stream = encrypted(CTR, key, iv, Buffer.concat([packet, packet]));
      const next = (BigInt(`0x${hex(iv)}`) + 4n) & ((1n << 128n) - 1n);
      expect(answer(answers[0])).toMatchObject({
        ...{ errno: 0, data: hex(packet), mac: hex(hmac("sha1", macKey, packet)).padEnd(128, "0") },
      });
      expect(answer(answers[1])).toMatchObject({
        ...{ errno: 0, data: hex(stream.subarray(0, 64)), iv: next.toString(16).padStart(32, "0") },
      });
      expect(answer(answers[2])).toMatchObject({ errno: 0, data: hex(stream.subarray(64)) });
    });

    vmTest("what it does not take is EINVAL, and a pointer to nowhere EFAULT", async () => {
      const call = {
        ...{ flags: SRTP, len: 32, src: "p+300", dst: "p+300", auth: "p+288", authLen: 44 },
        ...{ iv: "i", ivLen: 16, tag: "t", tagLen: 10 },
      };
      const answers = await bench.within(
        [
          session(21, random(16), 7, random(20)),
          session(11, random(16), 7, random(20)),
          session(21, random(16)),
          session(21, random(16), 14),
        ],
        [
          ...["anon p 9000", "anon i 16", "anon t 64"],
          authCall(call),
          authCall({ ...call, dst: "p+400" }),
          authCall({ ...call, auth: "p+301" }),
          authCall({ ...call, auth: "p+43", authLen: 289 }),
          authCall({ ...call, tagLen: 21 }),
          authCall({ ...call, authLen: 44 + 4085 }),
          ...[2, 3, 4].map((ses) => authCall({ ...call, ses })),
          authCall({ ...call, tag: "0x8" }),
          authCall({ ...call, iv: "0x8" }),
          authCall({ ...call, src: "0x8", dst: "0x8", auth: "0x8", authLen: 32 }),
          authCall({ ...call, auth: "p+44", authLen: 288 }),
        ],
      );
      expect(answers.slice(3)).toEqual([
        "ok 32 10",
        ...Array(8).fill(EINVAL),
        ...Array(3).fill(EFAULT),
        "ok 32 10",
      ]);
    });
  });
}
