/** CIOCCPHASH: a hash goes on from where another one is. */
import { describe, expect } from "bun:test";
import {
  answer,
  call,
  crypt,
  FINAL,
  hex,
  pattern,
  patternWord,
  queue,
  RESET,
  session,
  UPDATE,
} from "../support/crypto-calls.ts";
import { digest, HASHES, HMACS, hmac } from "../support/crypto-model.ts";
import { vmTest } from "../support/vm.ts";
import { type Bench, EFAULT, EINVAL, random } from "./bench.ts";

export function cphashTests(bench: Bench): void {
  describe("CPHASH", () => {
    const key = random(30);
    const ALL = [
      ...HASHES.map(([id, hash]) => {
        return { id, name: hash, key: "", of: (data: Uint8Array) => digest(hash, data) };
      }),
      ...HMACS.map(([id, hash]) => {
        const of = (data: Uint8Array) => hmac(hash, key, data);
        return { id, name: `hmac ${hash}`, key: hex(key), of };
      }),
    ];
    const part = (ses: number, flags: number, length: number) =>
      crypt({ ses, flags, data: patternWord(length, length), want: "m" });
    const parts = (...lengths: number[]) =>
      Buffer.concat(lengths.map((length) => pattern(length, length)));

    vmTest(
      "of every hash and HMAC, before and after updates, and they are apart then",
      async () => {
        for (const { id, name, key: macKey, of } of ALL) {
          const answers = await bench.within(
            [1, 2, 3].map(() => session(0, "", id, macKey)),
            [
              // Of one that has not begun, over one that has
              part(2, UPDATE | RESET, 99),
              "cphash 3 2 1",
              part(2, UPDATE, 10),
              part(2, FINAL, 3),
              // After updates; a copy of the copy
              part(1, UPDATE | RESET, 200),
              part(1, UPDATE, 77),
              "cphash 3 2 1",
              "cphash 3 3 2",
              part(1, UPDATE, 5),
              part(2, UPDATE, 6),
              part(1, FINAL, 100),
              part(2, FINAL, 101),
              part(3, FINAL, 102),
            ],
          );
          const mac = (i: number) => answer(answers[i]).mac.slice(0, 2 * of(parts()).length);
          expect([name, answers[1], answers[6], answers[7]]).toEqual([name, "ok", "ok", "ok"]);
          expect([name, mac(3), mac(10), mac(11), mac(12)]).toEqual([
            name,
            hex(of(parts(10, 3))),
            hex(of(parts(200, 77, 5, 100))),
            hex(of(parts(200, 77, 6, 101))),
            hex(of(parts(200, 77, 102))),
          ]);
        }
      },
    );

    vmTest("after each update, as OpenSSL's engine does it", async () => {
      const lengths = [1, 64, 100, 4096, 0x100003, 7];
      const answers = await bench.within(
        [1, 2].map(() => session(0, "", 104)),
        [
          part(1, UPDATE | RESET, 50),
          ...lengths.flatMap((length) => [
            part(1, UPDATE, length),
            "cphash 3 2 1",
            crypt({ ses: 2, flags: FINAL, want: "m" }),
          ]),
        ],
      );
      for (const i of lengths.keys()) {
        const expected = digest("sha256", parts(50, ...lengths.slice(0, i + 1)));
        expect(answer(answers[3 * i + 3]).mac.slice(0, 64)).toBe(hex(expected));
      }
    });

    vmTest("takes its turn among what is under way", async () => {
      const answers = await bench.within(
        [1, 2].map(() => session(0, "", 106)),
        [
          ...["anon s 3000000", "anon m 128", "put s ~3000000:5"],
          queue({ flags: UPDATE | RESET, len: 3_000_000, src: "s", dst: "-", mac: "m" }),
          "cphash 3 2 1",
          queue({ flags: UPDATE, len: 1000, src: "s", dst: "-", mac: "m" }),
          call({ ses: 2, flags: FINAL, len: 16, src: "s", dst: "-", mac: "m+64" }),
          ...["poll 3 1 20000", "fetch 3", "poll 3 1 20000", "fetch 3"],
          call({ flags: FINAL, len: 0, src: "s", dst: "-", mac: "m" }),
          "get m 128",
        ],
      );
      const data = pattern(3_000_000, 5);
      const ends = [1000, 16].map((n) =>
        hex(digest("sha512", Buffer.concat([data, data.subarray(0, n)]))),
      );
      expect(answers.slice(3, 7)).toEqual(["ok", "ok", "ok", "ok"]);
      expect(answers.at(-1)).toBe(`ok ${ends.join("")}`);
    });

    vmTest("between what is not alike is EINVAL, and changes nothing", async () => {
      const answers = await bench.within(
        [
          session(0, "", 104),
          session(0, "", 105),
          session(0, "", 18, key),
          session(0, "", 18, random(30)),
          session(0, "", 18, key.subarray(0, 29)),
          session(11, random(16)),
          session(0, "", 18, key),
        ],
        [
          ...["open /dev/crypto", session(0, "", 104, "", 4), session(0, "", 104, "", 4)],
          ...[1, 2, 3, 4, 5].map((ses) => part(ses, UPDATE | RESET, 40 + ses)),
          ...["cphash 3 1 2", "cphash 3 2 1", "cphash 3 3 4", "cphash 3 4 3", "cphash 3 3 5"],
          ...["cphash 3 1 3", "cphash 3 3 1", "cphash 3 1 6", "cphash 3 6 1", "cphash 3 6 6"],
          ...["cphash 3 1 77", "cphash 3 77 1"],
          // The other file has no third one.
          ...["cphash 4 1 7", "cphash 4 7 1"],
          "ioctl 3 0x40086370 8",
          ...["cphash 3 7 3", "cphash 4 2 1"],
          ...[1, 3, 7].map((ses) => part(ses, FINAL, 9)),
        ],
      );
      const results = answers.slice(8);
      expect(results.slice(0, 14)).toEqual(Array(14).fill(EINVAL));
      expect(results.slice(14, 17)).toEqual([EFAULT, "ok", "ok"]);
      const macs = results.slice(17).map((line) => answer(line).mac.slice(0, 64));
      expect(macs).toEqual([
        hex(digest("sha256", parts(41, 9))),
        hex(hmac("sha256", key, parts(43, 9))),
        hex(hmac("sha256", key, parts(43, 9))),
      ]);
    });
  });
}
