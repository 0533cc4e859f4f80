/** Every cipher and hash that there is, against node:crypto. */
import { describe, expect } from "bun:test";
import {
  answer,
  crypt,
  DECRYPT,
  hex,
  pattern,
  patternWord,
  session,
  sum,
} from "../support/crypto-calls.ts";
import {
  CIPHERS,
  decrypted,
  digest,
  encrypted,
  HASHES,
  HMACS,
  hmac,
} from "../support/crypto-model.ts";
import { vmTest } from "../support/vm.ts";
import { type Bench, EINVAL, random } from "./bench.ts";

export function cipherTests(bench: Bench): void {
  describe("algorithms", () => {
    vmTest("every cipher and key size, both ways, in place and not", async () => {
      const blocks = [1, 2, 3, 7, 64, 300];
      for (const cipher of CIPHERS) {
        const keys = cipher.keys.map(random);
        const iv = random(cipher.iv);
        const lengths = blocks.map((n) => n * cipher.block);
        const answers = await bench.within(
          keys.map((key) => session(cipher.id, key)),
          keys.flatMap((_, k) =>
            lengths.flatMap((n) =>
              ["d", "di"].flatMap((want) => {
                const call = { ses: k + 1, iv, data: patternWord(n, n), want };
                return [crypt(call), crypt({ ...call, op: DECRYPT })];
              }),
            ),
          ),
        );
        const expected = keys.flatMap((key) =>
          lengths.flatMap((n) => {
            const data = pattern(n, n);
            const both = [encrypted, decrypted].map((f) => sum(f(cipher, key, iv, data)));
            return [...both, ...both];
          }),
        );
        expect([cipher.name, ...answers.map((line) => answer(line).data)]).toEqual([
          ...[cipher.name, ...expected],
        ]);
      }
    });

    vmTest("RFC 3713's Camellia", async () => {
      const key = "0123456789abcdeffedcba987654321000112233445566778899aabbccddeeff";
      const data = "0123456789abcdeffedcba9876543210";
      const iv = Buffer.alloc(16);
      const answers = await bench.within(
        [16, 24, 32].map((bytes) => session(101, key.slice(0, 2 * bytes))),
        [1, 2, 3].map((ses) => crypt({ ses, iv, data })),
      );
      expect(answers.map((line) => answer(line).data)).toEqual([
        "67673138549669730857065648eabe43",
        "b4993401b3e996f84ee5cee7d79b09b9",
        "9acc237dff16d76c20ef7c919e3a7509",
      ]);
    });

    vmTest("the null cipher copies, and takes no key but none", async () => {
      const data = random(1001);
      const answers = await bench.within(
        [session(16), session(16, "", 18, "00")],
        [
          crypt({ data }),
          crypt({ op: DECRYPT, data, want: "ci" }),
          crypt({ ses: 2, data, want: "cm" }),
        ],
      );
      expect(answers.map((line) => answer(line).data)).toEqual(Array(3).fill(hex(data)));
      expect(answer(answers[2]).mac).toStartWith(hex(hmac("sha256", Buffer.alloc(1), data)));
    });

    vmTest("HMAC keys of 0 to 512 bytes, and every hash", async () => {
      const data = random(150);
      const empty = Buffer.alloc(0);
      const keys = [0, 1, 20, 64, 65, 128, 129, 512].map(random);
      const wanted = [
        ...HMACS.flatMap(([id, hash]) =>
          keys.map((key) => ({ id, key, of: (text: Buffer) => hmac(hash, key, text) })),
        ),
        ...HASHES.map(([id, hash]) => {
          return { id, key: empty, of: (text: Buffer) => digest(hash, text) };
        }),
      ];
      const answers = await bench.within(
        wanted.map(({ id, key }) => session(0, "", id, key)),
        wanted.flatMap((_, i) => {
          const call = { ses: i + 1, want: "m" };
          return [crypt({ ...call, data }), crypt(call)];
        }),
      );
      expect(answers.map((line) => answer(line).mac)).toEqual(
        wanted.flatMap(({ of }) => [data, empty].map((text) => hex(of(text)).padEnd(128, "0"))),
      );
    });

    vmTest("TLS's own ciphers are not among them, nor is what is no algorithm", async () => {
      const answers = await bench.within(
        [],
        [
          ...[108, 109, 4, 17, 49, 52, 102, 1000].map((id) => session(id, random(16))),
          ...[9, 12, 17, 21, 101, 108, 1000].map((id) => session(0, "", id, random(16))),
          session(0, "", 18, random(513)),
          session(16, "00"),
          session(11, random(17)),
          session(2, random(16)),
        ],
      );
      expect(answers).toEqual(Array(19).fill(EINVAL));
    });
  });
}
