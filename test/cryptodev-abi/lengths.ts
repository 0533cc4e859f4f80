/** Calls of any length: the ABI has no limit, whatever the device has. */
import { describe, expect } from "bun:test";
import {
  answer,
  crypt,
  DECRYPT,
  FINAL,
  hex,
  pattern,
  patternWord,
  RESET,
  session,
  sum,
  UPDATE,
  WRITE_IV,
} from "../support/crypto-calls.ts";
import {
  CIPHERS,
  type Cipher,
  decrypted,
  digest,
  encrypted,
  HASHES,
  HMACS,
  hmac,
} from "../support/crypto-model.ts";
import { vmTest } from "../support/vm.ts";
import { type Bench, EINVAL, random } from "./bench.ts";

const LIMIT = 1 << 20;
const cipherNamed = (name: string) => {
  const cipher = CIPHERS.find((one) => one.name === name);
  if (cipher === undefined) throw new Error(`no ${name}`);
  return cipher;
};

/** The IV that a message of whole blocks leaves behind. */
function nextIv({ name }: Cipher, iv: Uint8Array, plain: Uint8Array, secret: Uint8Array): string {
  if (name.endsWith("cbc") || name.endsWith("cfb")) return hex(secret.subarray(-iv.length));
  if (name.endsWith("ofb"))
    return hex(secret.subarray(-16).map((byte, i) => byte ^ (plain.at(i - 16) ?? 0)));
  const next = (BigInt(`0x${hex(iv)}`) + BigInt(plain.length / 16)) & ((1n << 128n) - 1n);
  return next.toString(16).padStart(32, "0");
}

export function lengthTests(bench: Bench): void {
  describe("calls of any length", () => {
    vmTest("of every cipher, both ways, and the IV behind them", async () => {
      const length = 2 * LIMIT + 16;
      const data = pattern(length, 1);
      for (const cipher of CIPHERS) {
        const [key, iv] = [random(cipher.keys[0] ?? 0), random(cipher.iv)];
        const common = { iv, data: patternWord(length, 1) };
        const answers = await bench.within(
          [session(cipher.id, key)],
          [
            crypt({ ...common, flags: WRITE_IV, want: "d" }),
            crypt({ ...common, op: DECRYPT, want: "di" }),
          ],
        );
        const secret = encrypted(cipher, key, iv, data);
        const [there, back] = answers.map(answer);
        const plain = decrypted(cipher, key, iv, data);
        expect([cipher.name, there?.data, back?.data]).toEqual([
          ...[cipher.name, sum(secret), sum(plain)],
        ]);
        if (cipher.iv === 0) continue;
        const next = nextIv(cipher, iv, data, secret);
        expect([cipher.name, there?.iv.slice(0, next.length)]).toEqual([cipher.name, next]);
      }
    });

    vmTest("at the limit and one beyond, with any remainder; blocks must be whole", async () => {
      const lengths = [LIMIT - 1, LIMIT, LIMIT + 1, 2 * LIMIT - 1, 2 * LIMIT, 3 * LIMIT + 5];
      const [ctr, cbc] = [cipherNamed("aes-ctr"), cipherNamed("aes-cbc")];
      const [key, iv] = [random(32), random(16)];
      const answers = await bench.within(
        [session(21, key), session(16), session(11, key), session(22, random(64))],
        [
          ...lengths.map((n) => crypt({ iv, data: patternWord(n, 2), want: "d" })),
          ...lengths.map((n) => crypt({ ses: 2, data: patternWord(n, 2), want: "d" })),
          // What is refused leaves the session where it was.
          crypt({ ses: 3, iv, data: patternWord(32, 3), want: "d" }),
          crypt({ ses: 3, iv, data: patternWord(2 * LIMIT + 17, 3), want: "d" }),
          crypt({ ses: 3, data: patternWord(2 * LIMIT + 1, 3), want: "d" }),
          crypt({ ses: 3, data: patternWord(LIMIT + 32, 3), want: "d" }),
          crypt({ ses: 4, iv, data: patternWord(LIMIT, 3), want: "d" }),
          crypt({ ses: 4, iv, data: patternWord(LIMIT + 16, 3), want: "d" }),
        ],
      );
      for (const [i, n] of lengths.entries()) {
        const data = pattern(n, 2);
        expect(answer(answers[i]).data).toBe(sum(encrypted(ctr, key, iv, data)));
        expect(answer(answers[i + lengths.length]).data).toBe(sum(data));
      }
      const rest = answers.slice(2 * lengths.length);
      const first = encrypted(cbc, key, iv, pattern(32, 3));
      const second = encrypted(cbc, key, first.subarray(-16), pattern(LIMIT + 32, 3));
      expect(answer(rest[0]).data).toBe(sum(first));
      expect(rest.slice(1, 3)).toEqual([EINVAL, EINVAL]);
      expect(answer(rest[3]).data).toBe(sum(second));
      expect(answer(rest[4]).errno).toBe(0);
      expect(rest[5]).toBe(EINVAL);
    });

    vmTest("without an IV they go on where the last one ended", async () => {
      const lengths = [2 * LIMIT + 16, 48, LIMIT + 32, 4096];
      for (const name of ["aes-cbc", "aes-ctr", "aes-cfb", "aes-ofb", "des-ede3-cbc"]) {
        const cipher = cipherNamed(name);
        const [key, iv] = [random(cipher.keys[0] ?? 0), random(cipher.iv)];
        const answers = await bench.within(
          [session(cipher.id, key)],
          lengths.map((n, i) =>
            crypt({ data: patternWord(n, 4 + i), want: "d", ...(i === 0 ? { iv } : {}) }),
          ),
        );
        const whole = Buffer.concat(lengths.map((n, i) => pattern(n, 4 + i)));
        const secret = encrypted(cipher, key, iv, whole);
        let at = 0;
        for (const [i, n] of lengths.entries()) {
          expect([name, answer(answers[i]).data]).toEqual([name, sum(secret.subarray(at, at + n))]);
          at += n;
        }
      }
    });

    vmTest("of every hash and HMAC, and of ciphers with one", async () => {
      const length = 2 * LIMIT + 5;
      const [data, macKey] = [pattern(length, 5), random(20)];
      const whole = crypt({ data: patternWord(length, 5), want: "m" });
      const sessions = [
        ...HASHES.map(([id]) => session(0, "", id)),
        ...HMACS.map(([id]) => session(0, "", id, macKey)),
      ];
      const expected = [
        ...HASHES.map(([, hash]) => digest(hash, data)),
        ...HMACS.map(([, hash]) => hmac(hash, macKey, data)),
      ];
      const answers = await bench.within(
        sessions,
        sessions.map((_, i) => whole.replace(" 3 1 ", ` 3 ${i + 1} `)),
      );
      expect(
        answers.map((line, i) => answer(line).mac.slice(0, 2 * (expected[i]?.length ?? 0))),
      ).toEqual(expected.map(hex));

      const [aes, key, iv] = [cipherNamed("aes-cbc"), random(16), random(16)];
      const both = { iv, data: patternWord(2 * LIMIT + 16, 5), want: "dm" };
      const [there, back] = (
        await bench.within(
          [session(11, key, 18, macKey)],
          [crypt(both), crypt({ ...both, op: DECRYPT })],
        )
      ).map(answer);
      const plain = pattern(2 * LIMIT + 16, 5);
      const recovered = decrypted(aes, key, iv, plain);
      expect([there?.data, there?.mac.slice(0, 64), back?.data, back?.mac.slice(0, 64)]).toEqual([
        ...[sum(encrypted(aes, key, iv, plain)), hex(hmac("sha256", macKey, plain))],
        ...[sum(recovered), hex(hmac("sha256", macKey, recovered))],
      ]);
    });

    vmTest("UPDATE, FINAL and RESET in any order, short and long", async () => {
      const macKey = random(64);
      const calls: { flags: number; length: number; expected?: Buffer }[] = [];
      let [state, begun]: [Buffer[], boolean] = [[], true];
      const lengths = [0, 1, 100, 4096, LIMIT + 3, 2 * LIMIT + 1];
      for (let i = 0; i < 60; i++) {
        const length = lengths[Math.floor(Math.random() * (i % 4 === 0 ? 6 : 4))] ?? 0;
        let flags = Math.floor(Math.random() * 4) + (Math.random() < 0.3 ? RESET : 0);
        // What is finished has to start anew.
        if (!begun && flags !== 0) flags |= RESET;
        if (flags === 0 || flags & RESET) state = [];
        state.push(pattern(length, i));
        begun = !(flags & FINAL || !(flags & UPDATE) || length === 0);
        calls.push({
          ...{ flags, length },
          ...(begun ? {} : { expected: hmac("sha256", macKey, Buffer.concat(state)) }),
        });
      }
      const answers = await bench.within(
        [session(0, "", 18, macKey)],
        calls.map(({ flags, length }, i) =>
          crypt({ flags, data: patternWord(length, i), want: "m" }),
        ),
      );
      const story = calls.map(({ flags, length }) => `${flags}:${length}`).join(" ");
      expect([story, ...answers.map((line) => answer(line).mac)]).toEqual([
        story,
        ...calls.map(({ expected = Buffer.alloc(0) }) => hex(expected).padEnd(128, "0")),
      ]);
    });

    vmTest("of no length at all are fine", async () => {
      const macKey = random(5);
      const answers = await bench.within(
        [...CIPHERS.map(({ id, keys }) => session(id, random(keys[0] ?? 0))), session(16)],
        [...CIPHERS, { iv: 0 }].map(({ iv }, i) => crypt({ ses: i + 1, iv: random(iv) })),
      );
      expect(answers.map((line) => answer(line).errno)).toEqual(Array(9).fill(0));
      const [plain, keyed, both] = await bench.within(
        [session(0, "", 104), session(0, "", 7, macKey), session(11, random(16), 7, macKey)],
        [1, 2, 3].map((ses) => crypt({ ses, iv: ses === 3 ? random(16) : "", want: "cm" })),
      );
      const empty = Buffer.alloc(0);
      expect(answer(plain).mac).toStartWith(hex(digest("sha256", empty)));
      expect(answer(keyed).mac).toStartWith(hex(hmac("sha1", macKey, empty)));
      expect(answer(both).mac).toStartWith(hex(hmac("sha1", macKey, empty)));
    });

    vmTest("of two threads in one session don't mix their parts", async () => {
      const size = 2 * LIMIT + 16;
      const answers = await bench.within(
        [session(11, random(16), 18, random(20)), session(21, random(32)), session(0, "", 106)],
        [1, 2, 3].map((ses) => `sidebyside 3 ${ses} 0 0 ${size} 2 4`),
      );
      expect(answers).toEqual(["ok", "ok", "ok"]);
      // Also beside calls that are one part
      const mixed = await bench.within(
        [session(11, random(16), 7, random(20))],
        [`sidebyside 3 1 0 0 65536 4 30`, `sidebyside 3 1 1 0 ${LIMIT} 3 4`],
      );
      expect(mixed).toEqual(["ok", "ok"]);
    });
  });
}
