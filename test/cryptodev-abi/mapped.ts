/** mmap() of the open file: memory that the device works in. */
import { describe, expect } from "bun:test";
import {
  auth,
  authCall,
  call,
  DECRYPT,
  hex,
  pattern,
  patternWord,
  queue,
  SRTP,
  session,
  sum,
  TLS,
} from "../support/crypto-calls.ts";
import { Memory } from "../support/crypto-memory.ts";
import { type Cipher, encrypted, gcm, hmac, tlsRecord } from "../support/crypto-model.ts";
import { vmTest } from "../support/vm.ts";
import { type Bench, EBADMSG, EBUSY, EFAULT, EINVAL, ENOMEM, flipped, random } from "./bench.ts";

const AES: Cipher = { id: 11, name: "aes-cbc", block: 16, iv: 16, keys: [16] };
const CTR: Cipher = { ...AES, id: 21, name: "aes-ctr", block: 1 };
const PAGE = 4096;
const MIB = 1 << 20;
const [READ, READ_WRITE, SHARED, PRIVATE] = [1, 3, 1, 2];

interface Placement {
  readonly name: string;
  readonly src: string;
  readonly dst: string;
  readonly len: number;
}

/** In memories m and n of 128 KiB that are mapped, x of another file, h of the program's own ... */
const PLACEMENTS: readonly Placement[] = [
  { name: "in place", src: "m", dst: "m", len: 65_536 },
  { name: "in place, small", src: "m", dst: "m", len: 64 },
  { name: "in place, at odd addresses", src: "m+4099", dst: "m+4099", len: 30_000 },
  { name: "in place, all of it", src: "m", dst: "m", len: 131_072 },
  { name: "in place, up to the last byte", src: "m+131008", dst: "m+131008", len: 64 },
  { name: "from one place to another", src: "m+17", dst: "m+70001", len: 50_000 },
  { name: "and back", src: "m+70001", dst: "m+17", len: 50_000 },
  { name: "side by side", src: "m+1000", dst: "m+51000", len: 50_000 },
  { name: "a little further on", src: "m+100", dst: "m+116", len: 40_000 },
  { name: "a little further back", src: "m+116", dst: "m+100", len: 40_000 },
  { name: "overlapping by a byte", src: "m", dst: "m+39999", len: 40_000 },
  { name: "overlapping, small", src: "m+10", dst: "m+11", len: 100 },
  { name: "from one mapping to another", src: "m+8192", dst: "n+4096", len: 65_536 },
  { name: "from there to here, odd", src: "n+3", dst: "m+5", len: 1000 },
  { name: "only the source is mapped", src: "m+50", dst: "h+3", len: 60_000 },
  { name: "only the destination is", src: "h+3", dst: "m+50", len: 60_000 },
  { name: "only the source is, small", src: "m+50", dst: "h+3", len: 40 },
  { name: "only the destination is, small", src: "h+3", dst: "m+50", len: 40 },
  { name: "another file's, in place", src: "x+5", dst: "x+5", len: 20_000 },
  { name: "from another file's", src: "x", dst: "m", len: 20_000 },
  { name: "to another file's", src: "m", dst: "x", len: 20_000 },
  // ... and a, in the midst of which c is mapped, from 8192 to 24576.
  { name: "across its end", src: "a+20000", dst: "a+20000", len: 10_000 },
  { name: "across its beginning", src: "a+8000", dst: "a+8000", len: 10_000 },
  { name: "from across its end", src: "a+20000", dst: "h", len: 10_000 },
  { name: "to across its end", src: "h", dst: "a+20000", len: 10_000 },
  { name: "over all of it", src: "a+8", dst: "a+8", len: 32_000 },
  { name: "right behind it", src: "a+24576", dst: "a+24576", len: 64 },
];

/** The memory that they are in. */
function places(): Memory {
  return new Memory()
    .line("open /dev/crypto", "ok 4")
    .map("m", 131_072)
    .map("n", 131_072)
    .map("x", 65_536, 4)
    .anon("h", 131_072)
    .anon("a", 32_768)
    .map("c", 16_384, 3, "a+8192")
    .anon("i", PAGE)
    .anon("t", 128);
}

const NAMES = ["m", "n", "x", "h", "a"];

async function checked(bench: Bench, sessions: string[], memory: Memory): Promise<void> {
  const answers = await bench.within(sessions, memory.lines);
  const [found, expected] = memory.compared(answers);
  expect(found).toEqual(expected);
}

export function mappedTests(bench: Bench): void {
  describe("mapped memory", () => {
    vmTest(
      "wherever source and destination are, the result is right, and all else untouched",
      async () => {
        const [key, macKey, iv] = [random(16), random(20), random(16)];
        const memory = places().line(`put i ${hex(iv)}`);
        for (const [i, { src, dst, len: most }] of PLACEMENTS.entries()) {
          const len = most - (most % 16);
          memory.put(src, len, i);
          const plain = Buffer.from(memory.at(src).subarray(0, len));
          const common = { len, src, dst, mac: "t", iv: "i" };
          memory.line(call(common), "ok").written(dst, encrypted(AES, key, iv, plain));
          memory.line("get t 20", `ok ${hex(hmac("sha1", macKey, plain))}`);
          for (const name of NAMES) memory.check(name);
        }
        await checked(bench, [session(11, key, 7, macKey)], memory);
      },
    );

    vmTest("so it is for what is authenticated", async () => {
      const [key, nonce] = [random(16), random(12)];
      const memory = places()
        .line(`put i ${hex(nonce)}`)
        .put("t", 20, 99);
      const authenticated = Buffer.from(memory.at("t").subarray(0, 20));
      for (const [i, { name, src, dst, len: most }] of PLACEMENTS.entries()) {
        // With the tag it has to end where the placement does.
        const len = name.includes("last byte") || name.includes("all of it") ? most - 16 : most - 3;
        memory.put(src, len, i);
        const plain = Buffer.from(memory.at(src).subarray(0, len));
        const sealed = gcm(key, nonce, authenticated, plain);
        const common = { auth: "t", authLen: 20, iv: "i" };
        memory.line(authCall({ ...common, len, src, dst }), `ok ${len + 16} 16`);
        memory.written(dst, sealed);
        for (const one of NAMES) memory.check(one);
        // And opened, where it is now
        const back = { ...common, op: DECRYPT, len: len + 16, src: dst, dst: i % 2 ? dst : "h+7" };
        memory.line(authCall(back), `ok ${len} 16`).written(back.dst, plain);
        // What is opened in place has the tag left behind it, or not.
        memory.put(`${back.dst.split("+")[0]}+${Number(back.dst.split("+")[1] ?? 0) + len}`, 16, i);
        for (const one of NAMES) memory.check(one);
      }
      await checked(bench, [session(50, key)], memory);
    });

    vmTest("TLS and SRTP work there in place", async () => {
      const [key, macKey, iv] = [random(16), random(20), random(16)];
      const memory = places().line(`put i ${hex(iv)}`);
      for (const [place, len] of [
        ["m", 1000],
        ["m+77", 50_000],
        ["m+130000", 1030],
        ["a+20000", 8000],
        ["x", 16_384],
        ["m", 15],
      ] as const) {
        memory.put(place, len, len);
        const plain = Buffer.from(memory.at(place).subarray(0, len));
        const record = tlsRecord(AES, key, iv, plain, hmac("sha1", macKey, plain));
        const common = { flags: TLS, iv: "i", src: place, dst: place };
        memory.line(authCall({ ...common, len }), `ok ${record.length} 20`);
        memory.written(place, record);
        for (const name of NAMES) memory.check(name);
        const back = { ...common, op: DECRYPT, len: record.length };
        memory.line(authCall(back), `ok ${len} 20`).check(place, 0);
        memory.line(`sum ${place} ${len}`, `ok ${sum(plain)}`);
        // What MAC and padding leave is not said.
        memory.put(place, record.length, 1);
        for (const name of NAMES) memory.check(name);
      }
      for (const [at, len, behind] of [
        [0, 1000, 0],
        [5000, 60_000, 4],
        [131_072 - 12 - 100, 100, 0],
      ] as const) {
        const [start, src] = [`m+${at}`, `m+${at + 12}`];
        memory.put(start, 12 + len + behind, len);
        const whole = memory.at(start).subarray(0, 12 + len + behind);
        const packet = Buffer.from(whole);
        encrypted(CTR, key, iv, packet.subarray(12, 12 + len)).copy(packet, 12);
        const common = {
          ...{ ses: 2, flags: SRTP, iv: "i", ivLen: 16, src, dst: src, len, tag: "t" },
          ...{ auth: start, authLen: packet.length, tagLen: 10 },
        };
        memory.line(authCall(common), `ok ${len} 10`).written(start, packet).check("m");
        const mac = hmac("sha1", macKey, packet);
        memory.line("get t 10", `ok ${hex(mac.subarray(0, 10))}`);
        memory.line(`put t ${hex(flipped(mac, 9).subarray(0, 10))}`);
        memory.line(authCall({ ...common, op: DECRYPT }), EBADMSG).check("m");
        memory.line(`put t ${hex(mac.subarray(0, 10))}`);
        memory.line(authCall({ ...common, op: DECRYPT }), `ok ${len} 10`);
        memory.put(start, 12 + len + behind, len).check("m");
      }
      await checked(bench, [session(11, key, 7, macKey), session(21, key, 7, macKey)], memory);
    });

    vmTest("a wrong tag leaves no plaintext there", async () => {
      const places: [string, number, string, number][] = [
        ["m", 0, "m", 0],
        ["m", 3, "m", 3],
        ["m", 0, "m", 10_000],
        ["m", 0, "n", 0],
        ["h", 0, "m", 0],
        ["m", 0, "h", 0],
        ["m", 50, "m", 60],
      ];
      const plain = pattern(5000, 6);
      const answers = await bench.within(
        [session(50, random(32))],
        places.flatMap(([from, at, to, where]) => {
          const [src, dst] = [`${from}+${at}`, `${to}+${where}`];
          return [
            ...["map m 3 65536 3 1 0", "map n 3 65536 3 1 0", "anon h 65536", "anon i 16"],
            ...[`put ${src} ${patternWord(5000, 6)}`],
            authCall({ len: 5000, src, dst: src, iv: "i" }),
            `put ${from}+${at + 4990} 0000`,
            authCall({ op: DECRYPT, len: 5016, src, dst, iv: "i" }),
            ...[`get ${to}+${where + 64} 64`, `get ${to}+${where + 4096} 64`],
            ...["unmap m 65536", "unmap n 65536"],
          ];
        }),
      );
      for (const [i, names] of places.entries()) {
        const [sealed, , result, ...memories] = answers.slice(12 * i + 5, 12 * i + 10);
        expect([names, sealed, result]).toEqual([names, "ok 5016 16", EBADMSG]);
        for (const text of memories) {
          for (const at of [64, 4096])
            expect(text).not.toContain(hex(plain.subarray(at + 16, at + 32)));
        }
      }
    });

    vmTest("calls of several MiB, hashes too", async () => {
      const [key, iv] = [random(16), random(16)];
      const len = 3 * MIB;
      const data = pattern(len, 7);
      const answers = await bench.within(
        [session(11, key), session(0, "", 18, key)],
        [
          ...[`map m 3 ${7 * MIB} 3 1 0`, `anon h ${len}`, "anon i 16", "anon t 64"],
          ...[`put i ${hex(iv)}`, `put m+5 ~${len}:7`],
          call({ len, src: "m+5", dst: `m+${4 * MIB}`, iv: "i" }),
          `sum m+${4 * MIB} ${len}`,
          call({ op: DECRYPT, len, src: `m+${4 * MIB}`, dst: `m+${4 * MIB}`, iv: "i" }),
          `sum m+${4 * MIB} ${len}`,
          call({ len, src: "m+5", dst: "h", iv: "i" }),
          `sum h ${len}`,
          call({ op: DECRYPT, len, src: "h", dst: "m", iv: "i" }),
          `sum m ${len}`,
          call({ ses: 2, len: len - 5, src: "m+5", dst: "-", mac: "t" }),
          "get t 32",
          // Overlapping, of several parts
          `put m+5 ~${len}:7`,
          call({ len, src: "m+5", dst: "m+4101", iv: "i" }),
          `sum m+4101 ${len}`,
          `put m+4101 ~${len}:7`,
          call({ len, src: "m+4101", dst: "m+5", iv: "i" }),
          `sum m+5 ${len}`,
        ],
      );
      const secret = sum(encrypted(AES, key, iv, data));
      expect(answers.slice(6, 16)).toEqual([
        ...["ok", `ok ${secret}`, "ok", `ok ${sum(data)}`],
        ...["ok", `ok ${secret}`, "ok", `ok ${sum(data)}`],
        ...["ok", `ok ${hex(hmac("sha256", key, data.subarray(5)))}`],
      ]);
      // Forward is no copy that a program may make either: only that it ends is asked for.
      expect(answers.slice(19)).toEqual(["ok", "ok", `ok ${secret}`]);
    });

    vmTest("is a file's own: at most 64 MiB, shared, from its beginning, and zeros", async () => {
      const answers = await bench.calls([
        "open /dev/crypto",
        `map a 3 ${64 * MIB} ${READ_WRITE} ${SHARED} 0`,
        ...["sum a 1048576", `sum a+${63 * MIB} 1048576`, "put a+67108863 ff"],
        `map b 3 ${PAGE} ${READ_WRITE} ${SHARED} 0`,
        ...["open /dev/crypto", `map o 4 ${PAGE} ${READ_WRITE} ${SHARED} 0`],
        `unmap a ${64 * MIB}`,
        `map b 3 ${64 * MIB + PAGE} ${READ_WRITE} ${SHARED} 0`,
        `map b 3 ${PAGE} ${READ_WRITE} ${PRIVATE} 0`,
        `map b 3 ${PAGE} ${READ} ${PRIVATE} 0`,
        `map b 3 ${PAGE} ${READ_WRITE} ${SHARED} ${PAGE}`,
        ...[...Array(4).keys()].map((i) => `map c${i} 3 ${16 * MIB} ${READ_WRITE} ${SHARED} 0`),
        `map b 3 1 ${READ_WRITE} ${SHARED} 0`,
        ...["sum c3 4096", `sum c0+${16 * MIB - PAGE} 4096`],
        // Half of one is still one.
        `unmap c0 ${8 * MIB}`,
        `unmap c0+${8 * MIB} ${8 * MIB}`,
        `map b 3 ${16 * MIB} ${READ_WRITE} ${SHARED} 0`,
        `map d 3 1 ${READ_WRITE} ${SHARED} 0`,
        ...["dup 3", "close 3", `map d 5 1 ${READ_WRITE} ${SHARED} 0`],
      ]);
      const zeros = (n: number) => `ok ${sum(Buffer.alloc(n))}`;
      expect(answers).toEqual([
        ...["ok 3", "ok", zeros(MIB), zeros(MIB), "ok", ENOMEM, "ok 4", "ok", "ok"],
        ...[ENOMEM, EINVAL, EINVAL, EINVAL, "ok", "ok", "ok", "ok", ENOMEM],
        ...[zeros(PAGE), zeros(PAGE), "ok", "ok", "ok", ENOMEM, "ok 5", "ok", ENOMEM],
      ]);
    });

    vmTest("that may only be read is a source, and no destination", async () => {
      const [key, iv] = [random(16), random(16)];
      const answers = await bench.within(
        [session(11, key), session(50, key)],
        [
          ...[`map m 3 ${PAGE} ${READ} ${SHARED} 0`, "anon h 100", `put h ${hex(iv)}`],
          call({ len: 48, src: "m", dst: "h+20", iv: "h" }),
          "get h+20 48",
          call({ len: 48, src: "m", dst: "m", iv: "h" }),
          call({ len: 4096, src: "m", dst: "m", iv: "h" }),
          call({ len: 48, src: "h", dst: "m", iv: "h" }),
          authCall({ ses: 2, len: 48, src: "m", dst: "m+100", iv: "h" }),
          ...[queue({ len: 48, src: "h", dst: "m", iv: "h" }), "poll 3 1 9000", "fetch 3"],
          "sum m 4096",
        ],
      );
      const secret = hex(encrypted(AES, key, iv, Buffer.alloc(48)));
      expect(answers.slice(3)).toEqual([
        ...["ok", `ok ${secret}`, EFAULT, EFAULT, EFAULT, EFAULT, "ok", "ok 1", EFAULT],
        `ok ${sum(Buffer.alloc(PAGE))}`,
      ]);
    });

    vmTest("after mremap(), munmap() of a part, fork(), and close() of the file", async () => {
      const [key, iv] = [random(16), random(16)];
      const data = pattern(20_000, 3);
      const secret = `ok ${sum(encrypted(AES, key, iv, data))}`;
      const work = (src: string, dst: string, fd = 3) => [
        `put ${src} ~20000:3`,
        call({ fd, len: 20_000, src, dst, iv: "i" }),
        `sum ${dst} 20000`,
      ];
      const right = ["ok", "ok", secret];
      const answers = await bench.within(
        [session(11, key)],
        [
          ...["map m 3 131072 3 1 0", "anon i 16", `put i ${hex(iv)}`],
          // Moved whole, and a part of it
          ...["move k m 131072", ...work("k", "k"), ...work("k+1", "k+50001")],
          ...["move p k+65536 65536", ...work("p", "p"), ...work("k+5", "p+5")],
          // It does not grow, and may shrink.
          ...["resize z p 65536 69632", "resize p p 65536 40960", ...work("p+16384", "p+16384")],
          // A hole
          ...["unmap k 4096", "unmap k+28672 4096", ...work("k+4096", "k+4096")],
          call({ len: 20_000, src: "k+20480", dst: "k+20480", iv: "i" }),
          call({ len: 64, src: "k", dst: "k+4096", iv: "i" }),
          call({ len: 64, src: "k+4096", dst: "k", iv: "i" }),
          // A child shares it, and the file.
          ...["fork", ...work("p", "p+20000"), "join", "sum p+20000 20000", ...work("p", "p")],
          // Another number for the file, and one that is a clone of it
          ...["dup 3", "clone 3", "close 3", ...work("p", "p", 4), ...work("p", "p+20000", 5)],
          // The memory stays when the file is gone.
          ...["close 4", "close 5", "sum p 20000", "sum p+20000 20000"],
          ...["open /dev/crypto", session(11, key), ...work("p", "p"), "unmap p 40960"],
        ],
      );
      expect(answers.slice(3)).toEqual([
        ...["ok", ...right, ...right, "ok", ...right, ...right],
        ...[EFAULT, "ok", ...right, "ok", "ok", ...right],
        ...[EFAULT, EFAULT, EFAULT],
        ...["ok", ...right, "ok 0", secret, ...right],
        ...["ok 4", "ok 5", "ok", ...right, ...right],
        ...["ok", "ok", `ok ${sum(data)}`, secret, "ok 3", "ok 1", ...right, "ok"],
      ]);
    });

    vmTest(
      "in jobs: results are there when fetched; what was unmapped first is EFAULT",
      async () => {
        const [key, iv] = [random(16), random(16)];
        const [data, long] = [pattern(50_000, 8), pattern(2 * MIB, 8)];
        const secret = `ok ${sum(encrypted(AES, key, iv, data))}`;
        const done = ["poll 3 1 20000", "fetch 3"];
        const job = (src: string, dst: string, len = 50_000) => queue({ len, src, dst, iv: "i" });
        const answers = await bench.within(
          [session(11, key)],
          [
            ...[`map m 3 ${4 * MIB} 3 1 0`, "map n 3 65536 3 1 0", "anon h 60000", "anon i 16"],
            `put i ${hex(iv)}`,
            ...["put m ~50000:8", job("m", "m"), ...done, "sum m 50000"],
            ...["put m ~50000:8", job("m", "n+5"), ...done, "sum n+5 50000"],
            ...[
              job("m", "h+5"),
              ...done,
              "sum h+5 50000",
              job("m", "m+7"),
              ...done,
              "sum m+7 50000",
            ],
            ...[`put m ~${2 * MIB}:8`, job("m", `m+${2 * MIB}`, 2 * MIB), ...done],
            `sum m+${2 * MIB} ${2 * MIB}`,
            // In the middle of it
            ...[job("m", "m", 2 * MIB), `unmap m ${4 * MIB}`, ...done, "fetch 3"],
            ...[job("n", "n"), "unmap n 65536", "end 3 1", "poll 3 1 20000", "fetch 3"],
            // All of it is given back.
            ...[`map m 3 ${64 * MIB} 3 1 0`, `sum m ${MIB}`],
          ],
        );
        const fetched = (src: string, dst: string, len = 50_000) =>
          `ok 1 0 0 ${len} ${src} ${dst} - i+0`;
        const results = answers.slice(5);
        expect(results.slice(0, 18)).toEqual([
          ...["ok", "ok", "ok 1", fetched("m+0", "m+0"), secret],
          ...["ok", "ok", "ok 1", fetched("m+0", "n+5"), secret],
          ...["ok", "ok 1", fetched("m+0", "h+5"), secret],
          ...["ok", "ok 1", fetched("m+0", "m+7"), secret],
        ]);
        expect(results.slice(18, 23)).toEqual([
          ...["ok", "ok", "ok 1", fetched("m+0", `m+${2 * MIB}`, 2 * MIB)],
          `ok ${sum(encrypted(AES, key, iv, long))}`,
        ]);
        expect(results.slice(23, 26)).toEqual(["ok", "ok", "ok 1"]);
        // What the device has done there has no place to be seen in.
        expect(results[26]).toBe(EFAULT);
        expect(results.slice(27, 31)).toEqual([EBUSY, "ok", "ok", "ok"]);
        expect(results.slice(31, 33)).toEqual(["ok 1", EFAULT]);
        expect(results.slice(33)).toEqual(["ok", `ok ${sum(Buffer.alloc(MIB))}`]);
      },
    );

    vmTest("in jobs that a child fetches, or that were moved meanwhile", async () => {
      const [key, iv] = [random(16), random(16)];
      const secret = `ok ${sum(encrypted(AES, key, iv, pattern(50_000, 8)))}`;
      const job = queue({ len: 50_000, src: "m", dst: "m", iv: "i" });
      const answers = await bench.within(
        [session(11, key)],
        [
          ...["map m 3 65536 3 1 0", "anon i 16", `put i ${hex(iv)}`, "put m ~50000:8", job],
          ...["fork", "poll 3 1 20000", "fetch 3", "sum m 50000", "join", "sum m 50000", "fetch 3"],
          ...[job, "poll 3 1 20000", "move k m 65536", "fetch 3", "fetch 3"],
          // Another memory at the same place is another memory.
          ...["map m 3 65536 3 1 0", job, "poll 3 1 20000", "map n 3 65536 3 1 0 m", "fetch 3"],
          "sum n 65536",
        ],
      );
      const fetched = "ok 1 0 0 50000 m+0 m+0 - i+0";
      expect(answers.slice(4)).toEqual([
        ...["ok", "ok", "ok 1", fetched, secret, "ok 0", secret, EBUSY],
        ...["ok", "ok 1", "ok", EFAULT, EBUSY],
        ...["ok", "ok", "ok 1", "ok", EFAULT, `ok ${sum(Buffer.alloc(65_536))}`],
      ]);
    });

    vmTest("what is authenticated may be there as well", async () => {
      const [key, nonce, plain] = [random(16), random(12), random(100)];
      const memory = new Memory().map("m", 8192).line(`put m ${hex(nonce)}`);
      memory.put("m+100", 4096, 1);
      const data = Buffer.from(memory.at("m+100").subarray(0, 4096));
      const sealed = gcm(key, nonce, data, plain);
      memory.line(`put m+5000 ${hex(plain)}`);
      const common = { auth: "m+100", authLen: 4096, iv: "m" };
      memory.line(authCall({ ...common, len: 100, src: "m+5000", dst: "m+6000" }), "ok 116 16");
      memory.line("get m+6000 116", `ok ${hex(sealed)}`);
      await checked(bench, [session(50, key)], memory);
      const [line = ""] = await bench.within(
        [session(50, key)],
        [auth({ iv: nonce, auth: data, data: plain })],
      );
      expect(line.split(" ")[1]).toBe(hex(sealed));
    });
  });
}
