/** CIOCAUTHCRYPT with AES-GCM and AES-CCM. */
import { describe, expect } from "bun:test";
import {
  answer,
  auth,
  authCall,
  crypt,
  DECRYPT,
  ENCRYPT,
  hex,
  pattern,
  patternWord,
  session,
} from "../support/crypto-calls.ts";
import { ccm, ccmIv, gcm } from "../support/crypto-model.ts";
import { vmTest } from "../support/vm.ts";
import { type Bench, EBADMSG, EFAULT, EINVAL, flipped, random } from "./bench.ts";

const GCM = 50;
const CCM = 51;
const GCM_KEY = "feffe9928665731c6d6a8f9467308308";
const GCM_IV = "cafebabefacedbaddecaf888";
const GCM_PLAIN =
  "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a721c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39";
const GCM_AUTH = "feedfacedeadbeeffeedfacedeadbeefabaddad2";
const SP_KEY = "404142434445464748494a4b4c4d4e4f";

interface Vector {
  readonly name: string;
  readonly cipher: number;
  readonly key: string;
  /** The nonce, where it is CCM's. */
  readonly iv: string;
  readonly auth: string;
  readonly plain: string;
  readonly secret: string;
  readonly tag: string;
}

const VECTORS: readonly Vector[] = [
  {
    name: "McGrew and Viega's GCM case 1",
    cipher: GCM,
    key: "00".repeat(16),
    iv: "00".repeat(12),
    auth: "",
    plain: "",
    secret: "",
    tag: "58e2fccefa7e3061367f1d57a4e7455a",
  },
  {
    name: "GCM case 2",
    cipher: GCM,
    key: "00".repeat(16),
    iv: "00".repeat(12),
    auth: "",
    plain: "00".repeat(16),
    secret: "0388dace60b6a392f328c2b971b2fe78",
    tag: "ab6e47d42cec13bdf53a67b21257bddf",
  },
  {
    name: "GCM case 4",
    cipher: GCM,
    key: GCM_KEY,
    iv: GCM_IV,
    auth: GCM_AUTH,
    plain: GCM_PLAIN,
    secret:
      "42831ec2217774244b7221b784d0d49ce3aa212f2c02a4e035c17e2329aca12e21d514b25466931c7d8f6a5aac84aa051ba30b396a0aac973d58e091",
    tag: "5bc94fbc3221a5db94fae95ae7121a47",
  },
  {
    name: "GCM case 16, AES-256",
    cipher: GCM,
    key: GCM_KEY + GCM_KEY,
    iv: GCM_IV,
    auth: GCM_AUTH,
    plain: GCM_PLAIN,
    secret:
      "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662",
    tag: "76fc6ece0f4e1768cddf8853bb2d551b",
  },
  {
    name: "SP 800-38C example 1",
    cipher: CCM,
    key: SP_KEY,
    iv: "10111213141516",
    auth: "0001020304050607",
    plain: "20212223",
    secret: "7162015b",
    tag: "4dac255d",
  },
  {
    name: "SP 800-38C example 2",
    cipher: CCM,
    key: SP_KEY,
    iv: "1011121314151617",
    auth: "000102030405060708090a0b0c0d0e0f",
    plain: "202122232425262728292a2b2c2d2e2f",
    secret: "d2a1f0e051ea5f62081a7792073d593d",
    tag: "1fc64fbfaccd",
  },
  {
    name: "SP 800-38C example 3",
    cipher: CCM,
    key: SP_KEY,
    iv: "101112131415161718191a1b",
    auth: "000102030405060708090a0b0c0d0e0f10111213",
    plain: "202122232425262728292a2b2c2d2e2f3031323334353637",
    secret: "e3b201a9f5b71a7a9b1ceaeccd97e70b6176aad9a4428aa5",
    tag: "484392fbc1b09951",
  },
  {
    name: "RFC 3610 packet vector 1",
    cipher: CCM,
    key: "c0c1c2c3c4c5c6c7c8c9cacbcccdcecf",
    iv: "00000003020100a0a1a2a3a4a5",
    auth: "0001020304050607",
    plain: "08090a0b0c0d0e0f101112131415161718191a1b1c1d1e",
    secret: "588c979a61c663d2f066d0c2c0f989806d5f6b61dac384",
    tag: "17e8d12cfdf926e0",
  },
];

const bytes = (text: string) => Buffer.from(text, "hex");

/** A session's cipher, with what is expected of it. */
interface Aead {
  readonly id: number;
  readonly key: Buffer;
  readonly iv: Buffer;
  readonly tags: readonly number[];
  sealed(authenticated: Uint8Array, plain: Uint8Array, tagLen?: number): Buffer;
}

function aeads(): Aead[] {
  return [16, 24, 32].flatMap((size) => {
    const key = random(size);
    const [iv, nonce] = [random(12), random(11)];
    return [
      {
        id: GCM,
        key,
        iv,
        tags: [4, 8, 12, 13, 14, 15, 16],
        sealed: (authenticated: Uint8Array, plain: Uint8Array, tagLen = 16) =>
          gcm(key, iv, authenticated, plain).subarray(0, plain.length + tagLen),
      },
      {
        id: CCM,
        key,
        iv: ccmIv(nonce),
        tags: [4, 6, 8, 10, 12, 14, 16],
        sealed: (authenticated: Uint8Array, plain: Uint8Array, tagLen = 16) =>
          ccm(key, nonce, authenticated, plain, tagLen),
      },
    ];
  });
}

const ok = (data: Uint8Array | string, tagLen = 16) => {
  const text = typeof data === "string" ? data : hex(data);
  return { errno: 0, data: text, len: text.length / 2, tagLen };
};

export function aeadTests(bench: Bench): void {
  describe("AEAD", () => {
    vmTest("vectors of the standards, there and back, in place and not", async () => {
      const answers = await bench.within(
        VECTORS.map(({ cipher, key }) => session(cipher, key)),
        VECTORS.flatMap((vector, i) => {
          const { cipher, plain, secret, tag } = vector;
          const iv = cipher === CCM ? ccmIv(bytes(vector.iv)) : vector.iv;
          const common = { ses: i + 1, iv, auth: vector.auth, tagLen: tag.length / 2 };
          return ["c", "ci"].flatMap((want) => [
            auth({ ...common, data: plain, want }),
            auth({ ...common, op: DECRYPT, data: secret + tag, want }),
          ]);
        }),
      );
      for (const [i, { name, plain, secret, tag }] of VECTORS.entries()) {
        for (const [j, expected] of [secret + tag, plain, secret + tag, plain].entries()) {
          const result = { name, ...answer(answers[4 * i + j]) };
          expect(result).toMatchObject({ name, ...ok(expected, tag.length / 2) });
        }
      }
    });

    vmTest("CCM takes the bare nonce, of 7 to 13 bytes, too", async () => {
      const key = random(32);
      const plain = random(50);
      const authenticated = random(20);
      const nonces = [7, 8, 9, 10, 11, 12, 13].map(random);
      const answers = await bench.within(
        [session(CCM, key)],
        nonces.flatMap((nonce) =>
          [nonce, ccmIv(nonce)].map((iv) => auth({ iv, auth: authenticated, data: plain })),
        ),
      );
      for (const [i, nonce] of nonces.entries()) {
        const expected = ok(ccm(key, nonce, authenticated, plain, 16));
        expect(answer(answers[2 * i])).toMatchObject(expected);
        expect(answer(answers[2 * i + 1])).toMatchObject(expected);
      }
    });

    vmTest("every key's size, tag's size and length, against node:crypto", async () => {
      const [lengths, authLengths] = [
        [0, 1, 15, 16, 17, 255, 4096, 65_537],
        [0, 1, 14, 15, 16, 4095, 4096],
      ];
      for (const aead of aeads()) {
        const calls = [
          ...lengths.map((length) => ({ length, authLength: 20, tagLen: 0 })),
          ...authLengths.map((authLength) => ({ length: 33, authLength, tagLen: 0 })),
          ...aead.tags.map((tagLen) => ({ length: 33, authLength: 20, tagLen })),
        ];
        const expected = calls.map(({ length, authLength, tagLen }) =>
          aead.sealed(pattern(authLength, 2), pattern(length, 1), tagLen || 16),
        );
        const answers = await bench.within(
          [session(aead.id, aead.key)],
          calls.flatMap(({ length, authLength, tagLen }, i) => {
            const common = { iv: aead.iv, auth: patternWord(authLength, 2), tagLen };
            const data = patternWord(length, 1);
            const sealed = expected[i] ?? Buffer.alloc(0);
            // What is long goes one way.
            return length > 300
              ? [auth({ ...common, data, want: "d" }), auth({ ...common, data, want: "di" })]
              : [
                  auth({ ...common, data, want: i % 2 ? "c" : "ci" }),
                  auth({ ...common, op: DECRYPT, data: sealed, want: i % 2 ? "ci" : "c" }),
                ];
          }),
        );
        for (const [i, { length, tagLen }] of calls.entries()) {
          const sealed = expected[i] ?? Buffer.alloc(0);
          const [there, back] = [answer(answers[2 * i]), answer(answers[2 * i + 1])];
          const sizes = { errno: 0, len: sealed.length, tagLen: tagLen || 16 };
          expect([calls[i], there]).toMatchObject([calls[i] ?? {}, sizes]);
          if (length > 300) {
            expect(there.data).toBe(`#${Bun.hash.crc32(sealed).toString(16).padStart(8, "0")}`);
            expect(back).toEqual(there);
          } else {
            expect(there.data).toBe(hex(sealed));
            expect(back).toMatchObject(ok(pattern(length, 1), tagLen || 16));
          }
        }
      }
    });

    vmTest(
      "each wrong byte of it all is EBADMSG, and the plaintext does not come out",
      async () => {
        for (const aead of aeads().slice(0, 2)) {
          const plain = random(32);
          const authenticated = random(8);
          const sealed = aead.sealed(authenticated, plain);
          const wrong = [
            ...[...sealed.keys()].map((i) => [authenticated, flipped(sealed, i)] as const),
            ...[...authenticated.keys()].map((i) => [flipped(authenticated, i), sealed] as const),
          ];
          const answers = await bench.within(
            [session(aead.id, aead.key)],
            [
              ...["s 100", "d 100", "a 100", `i ${aead.iv.length}`].map(
                (memory) => `anon ${memory}`,
              ),
              `put i ${hex(aead.iv)}`,
              ...wrong.flatMap(([other, data], i) => [
                `put a ${hex(other)}`,
                `put s ${hex(data)}`,
                authCall({
                  ...{ op: DECRYPT, len: 48, src: "s", dst: i % 2 ? "s" : "d", iv: "i" },
                  ...{ auth: "a", authLen: 8 },
                }),
                i % 2 ? "get s 48" : "get d 48",
              ]),
            ],
          );
          for (const [i] of wrong.entries()) {
            const [, , result, memory = ""] = answers.slice(5 + 4 * i);
            expect(result).toBe(EBADMSG);
            expect(memory).not.toContain(hex(plain.subarray(8, 24)));
          }
        }
      },
    );

    vmTest("what it does not take is EINVAL, and a pointer to nowhere EFAULT", async () => {
      const places = { len: 32, src: "s", dst: "d", iv: "i", auth: "a", authLen: 8 };
      const answers = await bench.within(
        [session(GCM, random(16)), session(CCM, random(16)), session(11, random(16))],
        [
          ...["anon s 100", "anon d 100", "anon a 8192", "anon i 16", "put i 02"],
          authCall(places),
          authCall({ ...places, ses: 2 }),
          // From here on everything is refused.
          ...[1, 2].flatMap((ses) => [
            authCall({ ...places, ses, iv: "-" }),
            authCall({ ...places, ses, authLen: 4097 }),
            authCall({ ...places, ses, tagLen: 17 }),
            authCall({ ...places, ses, op: DECRYPT, len: 15 }),
            authCall({ ...places, ses, op: 2 }),
            authCall({ ...places, ses, flags: 48 }),
            authCall({ ...places, ses, flags: 16, dst: "s" }),
            authCall({ ...places, ses, flags: 32, dst: "s", auth: "s" }),
            crypt({ ses, iv: random(12), data: random(16) }),
          ]),
          authCall({ ...places, ses: 3 }),
          authCall({ ...places, ses: 77 }),
          session(GCM, random(15)),
          session(GCM, random(16), 18, random(16)),
          authCall({ ...places, ses: 4 }),
          ...[1, 2].flatMap((ses) => [
            ...(["src", "dst", "auth", "iv"] as const).map((what) =>
              authCall({ ...places, ses, [what]: "0x8" }),
            ),
            authCall({ ...places, ses, auth: "-" }),
          ]),
          // The call's structure itself
          `ioctl 3 ${bench.width === 64 ? "0xc048636d" : "0xc02c636d"} 8`,
          authCall(places),
        ],
      );
      const results = answers.slice(5);
      expect(results.slice(0, 2)).toEqual(["ok 48 16", "ok 48 16"]);
      expect(results.at(-1)).toBe("ok 48 16");
      const refused = results.slice(2, -1);
      // A MAC may be refused with the session or with the call.
      if (refused[21]?.startsWith("ok")) refused[21] = EINVAL;
      expect(refused).toEqual([...Array(23).fill(EINVAL), ...Array(11).fill(EFAULT)]);
    });

    vmTest(
      "a session goes on after a wrong tag, and calls do not depend on each other",
      async () => {
        const [aead] = aeads();
        if (aead === undefined) throw new Error("none");
        const plain = random(40);
        const sealed = aead.sealed(Buffer.alloc(0), plain);
        const seal = auth({ iv: aead.iv, data: plain, op: ENCRYPT });
        const answers = await bench.within(
          [session(aead.id, aead.key)],
          [
            seal,
            auth({ iv: aead.iv, data: flipped(sealed, 3), op: DECRYPT }),
            auth({ iv: aead.iv, data: sealed, op: DECRYPT }),
            seal,
          ],
        );
        expect(answer(answers[0])).toMatchObject(ok(sealed));
        expect(answers[1]).toBe(EBADMSG);
        expect(answer(answers[2])).toMatchObject(ok(plain));
        expect(answers[3]).toBe(answers[0] ?? "");
      },
    );
  });
}
