/** CIOCASYNCCRYPT, CIOCASYNCFETCH and poll(). */
import { describe, expect } from "bun:test";
import {
  call,
  DECRYPT,
  hex,
  NO_ZC,
  pattern,
  patternWord,
  queue,
  session,
  sum,
  WRITE_IV,
} from "../support/crypto-calls.ts";
import { CIPHERS, encrypted, hmac } from "../support/crypto-model.ts";
import { until } from "../support/programs.ts";
import { vmTest } from "../support/vm.ts";
import { type Bench, EBUSY, EFAULT, EINVAL, random } from "./bench.ts";

const [AES] = CIPHERS.filter(({ name }) => name === "aes-cbc");
const POLLIN = 1;
const POLLOUT = 4;
/** Waits until a job is done, and fetches it. */
const DONE = ["poll 3 1 30000", "fetch 3"];
const times = (n: number, lines: string[]) => Array<string[]>(n).fill(lines).flat();

function cbc(key: Uint8Array, iv: Uint8Array, data: Uint8Array): Buffer {
  if (AES === undefined) throw new Error("no AES");
  return encrypted(AES, key, iv, data);
}

export function asyncTests(bench: Bench): void {
  describe("asynchronous calls", () => {
    vmTest("give what CRYPT gives, with their operation as it was queued", async () => {
      const [key, macKey, iv] = [random(16), random(20), random(16)];
      const sizes = [16, 240, 4096, 70_000, 0x100000, 0x300010];
      const total = 0x300010;
      const answers = await bench.within(
        [session(11, key, 7, macKey)],
        [
          ...[`anon s ${total}`, `anon d ${total}`, "anon m 64", "anon i 16"],
          `put s ~${total}:3`,
          ...sizes.flatMap((len) => [
            `put i ${hex(iv)}`,
            queue({ flags: WRITE_IV, len, src: "s", dst: "d", mac: "m", iv: "i" }),
            ...[...DONE, `sum d ${len}`, "get m 20", "get i 16"],
            // And back, in place
            `put i ${hex(iv)}`,
            queue({ op: DECRYPT, len, src: "d", dst: "d", mac: "m", iv: "i" }),
            ...[...DONE, `sum d ${len}`, "get m 20"],
          ]),
        ],
      );
      for (const [i, len] of sizes.entries()) {
        const plain = pattern(total, 3).subarray(0, len);
        const secret = cbc(key, iv, plain);
        const mac = hex(hmac("sha1", macKey, plain));
        expect(answers.slice(5 + 13 * i, 18 + 13 * i)).toEqual([
          ...["ok", "ok", "ok 1", `ok 1 0 4 ${len} s+0 d+0 m+0 i+0`],
          ...[`ok ${sum(secret)}`, `ok ${mac}`, `ok ${hex(secret.subarray(-16))}`],
          ...["ok", "ok", "ok 1", `ok 1 1 0 ${len} d+0 d+0 m+0 i+0`],
          ...[`ok ${sum(plain)}`, `ok ${mac}`],
        ]);
      }
    });

    vmTest("64 are taken, then EBUSY until one is fetched; poll() tells", async () => {
      const key = random(16);
      const job = (i: number) =>
        queue({ len: 16, src: `s+${16 * i}`, dst: `d+${16 * i}`, iv: "i" });
      const answers = await bench.within(
        [session(11, key)],
        [
          ...["anon s 2000", "anon d 2000", "anon i 16", "put s ~1024:4"],
          ...["poll 3 5 0", "fetch 3", "poll 3 1 20"],
          ...[...Array(64).keys()].map(job),
          job(64),
          ...["poll 3 4 0", "poll 3 1 10000"],
          ...times(63, DONE),
          ...["fetch 3", "poll 3 5 0"],
          job(0),
          ...[...DONE, "fetch 3", "poll 3 5 0", "get d 1024"],
        ],
      );
      const results = answers.slice(4);
      expect(results.splice(0, 3)).toEqual([`ok ${POLLOUT}`, EBUSY, "ok 0"]);
      expect(results.splice(0, 65)).toEqual([...Array(64).fill("ok"), EBUSY]);
      expect(results.splice(0, 2)).toEqual(["ok 0", `ok ${POLLIN}`]);
      const fetched = results.splice(0, 126).filter((_, i) => i % 2 === 1);
      expect(fetched).toEqual(
        [...Array(63).keys()].map((i) => `ok 1 0 0 16 s+${16 * i} d+${16 * i} - i+0`),
      );
      expect(results.splice(0, 2)).toEqual([
        `ok 1 0 0 16 s+${16 * 63} d+${16 * 63} - i+0`,
        `ok ${POLLOUT}`,
      ]);
      expect(results.slice(0, 5)).toEqual([
        ...["ok", "ok 1", "ok 1 0 0 16 s+0 d+0 - i+0", EBUSY, `ok ${POLLOUT}`],
      ]);
      const blocks = [...Array(64).keys()].map((i) =>
        cbc(key, Buffer.alloc(16), pattern(1024, 4).subarray(16 * i, 16 * i + 16)),
      );
      expect(results.at(-1)).toBe(`ok ${hex(Buffer.concat(blocks))}`);
    });

    vmTest("with room and something done, poll() says both", async () => {
      const job = queue({ len: 16, src: "s", dst: "s", iv: "s" });
      const answers = await bench.within(
        [session(11, random(16))],
        ["anon s 100", job, job, "poll 3 1 10000", "poll 3 5 0", ...DONE, ...DONE, "poll 3 5 0"],
      );
      expect(answers.slice(3, 5)).toEqual(["ok 1", "ok 5"]);
      expect(answers.at(-1)).toBe("ok 4");
    });

    vmTest("jobs of a session are done in order, and take the data as it was", async () => {
      const [key, iv] = [random(32), random(16)];
      const sizes = [48, 100_000, 16, 0x200010, 4096, 32].map((n) => n - (n % 16));
      const chunks = sizes.map((n, i) => pattern(n, 20 + i));
      const secret = cbc(key, iv, Buffer.concat(chunks));
      const answers = await bench.within(
        [session(11, key)],
        [
          ...["anon s 3000000", "anon i 16", `put i ${hex(iv)}`],
          ...sizes.flatMap((len, i) => [
            `anon d${i} ${len}`,
            `put s ${patternWord(len, 20 + i)}`,
            queue({ len, src: "s", dst: `d${i}`, ...(i === 0 ? { iv: "i" } : {}) }),
          ]),
          // One that is waited for comes behind them all.
          ...["put s 00000000000000000000000000000000"],
          call({ len: 16, src: "s", dst: "s+16" }),
          "get s+16 16",
          ...times(sizes.length, DONE),
          ...sizes.map((len, i) => `sum d${i} ${len}`),
        ],
      );
      const last = cbc(key, secret.subarray(-16), Buffer.alloc(16));
      expect(answers[3 + 3 * sizes.length + 2]).toBe(`ok ${hex(last)}`);
      let at = 0;
      for (const [i, size] of sizes.entries()) {
        const part = secret.subarray(at, at + size);
        expect(answers.at(i - sizes.length)).toBe(`ok ${sum(part)}`);
        at += size;
      }
    });

    vmTest(
      "what fails says so when it is fetched, or when it is queued; then it is gone",
      async () => {
        const job = { len: 32, src: "s", dst: "d", iv: "i" };
        const answers = await bench.within(
          [session(11, random(16)), session(22, random(32)), session(50, random(16))],
          [
            ...["anon s 100", "anon d 4096", "anon i 16"],
            queue({ ...job, flags: NO_ZC }),
            queue({ ...job, op: 2 }),
            queue({ ...job, ses: 77 }),
            queue({ ...job, ses: 2, len: 0x100010 }),
            queue({ ...job, ses: 3 }),
            queue({ ...job, src: "0x8" }),
            queue({ ...job, iv: "0x8" }),
            `ioctl 3 ${bench.width === 64 ? "0x4030636e" : "0x401c636e"} 8`,
            "poll 3 5 100",
            // A length that is not the cipher's, and a result that has no place
            ...[queue({ ...job, len: 17 }), ...DONE, "fetch 3"],
            ...[queue({ ...job, dst: "0x8" }), ...DONE, "fetch 3"],
            ...[queue(job), "poll 3 1 10000", "unmap d 4096", "fetch 3", "fetch 3", "poll 3 5 0"],
          ],
        );
        expect(answers.slice(3)).toEqual([
          ...Array(5).fill(EINVAL),
          ...Array(3).fill(EFAULT),
          "ok 4",
          ...["ok", "ok 1", EINVAL, EBUSY],
          ...["ok", "ok 1", EFAULT, EBUSY],
          ...["ok", "ok 1", "ok", EFAULT, EBUSY, "ok 4"],
        ]);
      },
    );

    vmTest("files and programs that end have their jobs end with them", async () => {
      const many = (fd: number) =>
        times(40, [queue({ fd, len: 0x80000, src: "s", dst: "s", iv: "i" })]);
      const key = random(16);
      const answers = await bench.within(
        [session(11, key)],
        [
          ...["anon s 524288", "anon i 16"],
          ...[...many(3), "end 3 1", "close 3"],
          ...["open /dev/crypto", session(11, key), ...many(3), "close 3"],
          ...["open /dev/crypto", "fetch 3"],
          // A child of its own file, which is not closed
          ...["fork", "open /dev/crypto", session(11, key, 0, "", 4), ...many(4), "exit", "join"],
          "fetch 3",
        ],
      );
      expect(answers.at(-1)).toBe(EBUSY);
      expect(answers.filter((line) => line !== "ok")).toEqual([
        ...["ok 3", "ok 1", "ok 3", EBUSY, "ok 4", "ok 1", "ok 0", EBUSY],
      ]);
      // A whole program, killed at any moment
      const begin = ["open /dev/crypto", session(11, key), "anon s 524288", "anon i 16"];
      const lines = [...many(3).slice(0, 20), ...times(20, DONE)];
      for (const milliseconds of [50, 200, 500]) {
        await bench.guest.run(`printf '${lines.join("\\n")}\\n' > /tmp/jobs
          { printf '${begin.join("\\n")}\\n'; while cat /tmp/jobs; do :; done; } 2> /dev/null |
            ${bench.program} > /dev/null &
          usleep ${milliseconds}000; kill -9 $!; wait`);
      }
      await until("no program", async () => {
        return (await bench.guest.run(`pidof ${bench.program}`)).code !== 0;
      });
    });

    vmTest("a child fetches what its parent queued, into its own memory", async () => {
      const [key, iv] = [random(16), random(16)];
      const answers = await bench.within(
        [session(11, key)],
        [
          ...["anon s 64", "anon d 64", "anon i 16", `put i ${hex(iv)}`, "put s ~64:9"],
          queue({ len: 64, src: "s", dst: "d", iv: "i" }),
          ...["fork", ...DONE, "get d 64", "join"],
          ...["get d 64", "fetch 3", "poll 3 5 0"],
          // And the other way about
          ...["fork", queue({ len: 64, src: "s", dst: "d", iv: "i" }), "join"],
          ...[...DONE, "get d 64"],
        ],
      );
      const secret = `ok ${hex(cbc(key, iv, pattern(64, 9)))}`;
      const fetched = "ok 1 0 0 64 s+0 d+0 - i+0";
      expect(answers.slice(5)).toEqual([
        ...["ok", "ok", "ok 1", fetched, secret, "ok 0"],
        ...[`ok ${"00".repeat(64)}`, EBUSY, "ok 4"],
        ...["ok", "ok", "ok 0", "ok 1", fetched, secret],
      ]);
    });
  });
}
