/** CIOCAUTHCRYPT of TLS's records: MAC, then pad, then encrypt. */
import { describe, expect } from "bun:test";
import {
  answer,
  auth,
  authCall,
  crypt,
  DECRYPT,
  hex,
  pattern,
  patternWord,
  session,
  sum,
  TLS,
  WRITE_IV,
} from "../support/crypto-calls.ts";
import { CBC, type Cipher, encrypted, HMACS, hmac, tlsRecord } from "../support/crypto-model.ts";
import { vmTest } from "../support/vm.ts";
import { type Bench, EBADMSG, EINVAL, flipped, random } from "./bench.ts";

const AES: Cipher = { id: 11, name: "aes-cbc", block: 16, iv: 16, keys: [16] };
const HEADER = "00000000000000011703030020";

export function tlsTests(bench: Bench): void {
  describe("TLS", () => {
    vmTest("every cipher in CBC with every HMAC, there and back", async () => {
      const lengths = [0, 1, 15, 16, 37];
      for (const cipher of CBC) {
        const [key, iv] = [random(cipher.keys.at(-1) ?? 0), random(cipher.iv)];
        const macKey = random(24);
        const records = HMACS.map(([, hash]) =>
          lengths.map((length) => {
            const plain = pattern(length, length);
            const whole = Buffer.concat([Buffer.from(HEADER, "hex"), plain]);
            return tlsRecord(cipher, key, iv, plain, hmac(hash, macKey, whole));
          }),
        );
        const common = { flags: TLS, iv, auth: HEADER, want: "ci" };
        const answers = await bench.within(
          HMACS.map(([mac]) => session(cipher.id, key, mac, macKey)),
          records.flatMap((list, i) =>
            list.flatMap((record, j) => [
              auth({ ...common, ses: i + 1, data: patternWord(lengths[j] ?? 0, lengths[j]) }),
              auth({ ...common, ses: i + 1, op: DECRYPT, data: record }),
            ]),
          ),
        );
        for (const [i, [, hash, size]] of HMACS.entries()) {
          for (const [j, length] of lengths.entries()) {
            const [there, back] = answers.slice(2 * (i * lengths.length + j)).map(answer);
            const record = records[i]?.[j] ?? Buffer.alloc(0);
            const name = `${cipher.name} ${hash} ${length}`;
            expect({ name, ...there }).toMatchObject({
              ...{ name, errno: 0, data: hex(record), len: record.length, tagLen: size },
            });
            const plain = hex(pattern(length, length));
            expect({ name, ...back }).toMatchObject({ name, errno: 0, data: plain, len: length });
          }
        }
      }
    });

    vmTest("Camellia's is MAC and padding under CRYPT's Camellia", async () => {
      const [key, macKey, iv, plain] = [random(32), random(20), random(16), random(70)];
      const [line = ""] = await bench.within(
        [session(101, key, 7, macKey)],
        [auth({ flags: TLS, iv, auth: HEADER, data: plain, want: "ci" })],
      );
      const record = answer(line).data;
      const [back = ""] = await bench.within(
        [session(101, key)],
        [crypt({ op: DECRYPT, iv, data: record })],
      );
      const mac = hmac("sha1", macKey, Buffer.concat([Buffer.from(HEADER, "hex"), plain]));
      expect(answer(back).data).toBe(hex(plain) + hex(mac) + "05".repeat(6));
    });

    vmTest("every length from 0 to 300", async () => {
      const lengths = [...Array(301).keys()];
      for (const [mac, hash, size] of [
        [7, "sha1", 20],
        [19, "sha384", 48],
      ] as const) {
        const [key, macKey, iv] = [random(16), random(20), random(16)];
        const records = lengths.map((length) => {
          const plain = pattern(length, length);
          const whole = Buffer.concat([Buffer.from(HEADER, "hex"), plain]);
          return tlsRecord(AES, key, iv, plain, hmac(hash, macKey, whole));
        });
        const common = { flags: TLS, src: "p", dst: "p", auth: "a", authLen: 13, iv: "i" };
        const answers = await bench.within(
          [session(11, key, mac, macKey)],
          [
            ...["anon p 4096", "anon a 16", "anon i 16", `put a ${HEADER}`, `put i ${hex(iv)}`],
            ...records.flatMap(({ length }, n) => [
              `put p ${patternWord(n, n)}`,
              ...[authCall({ ...common, len: n }), `sum p ${length}`],
              ...[authCall({ ...common, op: DECRYPT, len: length }), `sum p ${n}`],
            ]),
          ],
        );
        expect(answers.slice(5)).toEqual(
          records.flatMap((record, n) => [
            ...["ok", `ok ${record.length} ${size}`, `ok ${sum(record)}`],
            ...[`ok ${n} ${size}`, `ok ${sum(pattern(n, n))}`],
          ]),
        );
      }
    });

    vmTest("padding of up to 256 bytes is taken; a wrong byte anywhere is EBADMSG", async () => {
      const [key, macKey, iv, plain] = [random(16), random(20), random(16), random(28)];
      const mac = hmac("sha1", macKey, plain);
      const body = Buffer.concat([plain, mac]);
      const padded = (padding: number, value = padding - 1) =>
        Buffer.concat([body, Buffer.alloc(padding, value)]);
      const long = padded(256);
      const good = [padded(16), padded(32), long].map((text) => encrypted(AES, key, iv, text));
      const bad = [
        // Bytes of MAC, of padding, and of the plaintext
        ...[...Array(64).keys()].map((i) => flipped(padded(16), i)),
        ...[48, 64, 200, 302].map((i) => flipped(long, i)),
        // Padding that is longer than all there is, or leaves no room for the MAC
        padded(16, 63),
        padded(16, 255),
        Buffer.alloc(48, 47),
        Buffer.alloc(32, 31),
        Buffer.alloc(32, 0),
      ].map((text) => encrypted(AES, key, iv, text));
      const answers = await bench.within(
        [session(11, key, 7, macKey)],
        [...good, ...bad].map((data) => auth({ op: DECRYPT, flags: TLS, iv, data, want: "ci" })),
      );
      for (const line of answers.splice(0, good.length))
        expect(answer(line)).toMatchObject({ errno: 0, data: hex(plain), len: 28, tagLen: 20 });
      expect(answers).toEqual(Array(bad.length).fill(EBADMSG));
    });

    vmTest("MACs that are cut short, IVs that go on, associated data of any length", async () => {
      const [key, macKey, iv, plain] = [random(16), random(20), random(16), random(100)];
      const mac = hmac("sha1", macKey, plain);
      const short = tlsRecord(AES, key, iv, plain, mac.subarray(0, 10));
      const first = tlsRecord(AES, key, iv, plain, mac);
      const second = tlsRecord(AES, key, first.subarray(-16), plain, mac);
      const common = { flags: TLS, iv, data: plain, want: "ci" };
      const aads = [1, 64, 4096];
      const answers = await bench.within(
        [session(11, key, 7, macKey)],
        [
          auth({ ...common, tagLen: 10 }),
          auth({ ...common, op: DECRYPT, data: short, tagLen: 10 }),
          auth({ ...common, flags: TLS | WRITE_IV }),
          auth({ ...common, iv: "" }),
          auth({ ...common, op: DECRYPT, data: first }),
          auth({ ...common, op: DECRYPT, iv: "", data: second }),
          ...aads.map((length) => auth({ ...common, auth: patternWord(length) })),
          auth({ ...common, auth: patternWord(4097) }),
        ],
      );
      expect(answer(answers[0])).toMatchObject({ data: hex(short), tagLen: 10 });
      expect(answer(answers[1])).toMatchObject({ data: hex(plain), len: 100, tagLen: 10 });
      expect(answer(answers[2])).toMatchObject({ data: hex(first), iv: hex(first.subarray(-16)) });
      expect(answer(answers[3]).data).toBe(hex(second));
      expect(answer(answers[4]).data).toBe(hex(plain));
      expect(answer(answers[5]).data).toBe(hex(plain));
      for (const [i, length] of aads.entries()) {
        const whole = Buffer.concat([pattern(length), plain]);
        const record = tlsRecord(AES, key, iv, plain, hmac("sha1", macKey, whole));
        expect(answer(answers[6 + i]).data).toBe(hex(record));
      }
      expect(answers.at(-1)).toBe(EINVAL);
    });

    vmTest("what it does not take is EINVAL", async () => {
      const call = { flags: TLS, iv: random(16), data: random(64), want: "ci" };
      const answers = await bench.within(
        [
          session(11, random(16), 7, random(20)),
          session(11, random(16)),
          session(21, random(16), 7, random(20)),
          session(23, random(16), 7, random(20)),
          session(11, random(16), 14),
          session(0, "", 7, random(20)),
        ],
        [
          auth(call),
          auth({ ...call, want: "c" }),
          auth({ ...call, flags: 0 }),
          auth({ ...call, flags: 32 }),
          auth({ ...call, flags: 48 }),
          auth({ ...call, tagLen: 21 }),
          auth({ ...call, op: DECRYPT, data: random(63) }),
          ...[2, 3, 4, 5, 6].map((ses) => auth({ ...call, ses })),
        ],
      );
      expect(answer(answers[0]).errno).toBe(0);
      expect(answers.slice(1)).toEqual(Array(11).fill(EINVAL));
    });
  });
}
