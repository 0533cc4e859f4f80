/**
 * All that /dev/crypto can do, for programs of both widths, in a guest whose device is
 * virtio-cryptodevd; and what QEMU's own device, which can do less, says to that.
 */
import { afterAll, beforeAll, describe, expect } from "bun:test";
import { aeadTests } from "./cryptodev-abi/aead.ts";
import { asyncTests } from "./cryptodev-abi/async.ts";
import { Bench, EINVAL, ENODEV, random } from "./cryptodev-abi/bench.ts";
import { cipherTests } from "./cryptodev-abi/ciphers.ts";
import { cphashTests } from "./cryptodev-abi/cphash.ts";
import { lengthTests } from "./cryptodev-abi/lengths.ts";
import { mappedTests } from "./cryptodev-abi/mapped.ts";
import { srtpTests } from "./cryptodev-abi/srtp.ts";
import { tlsTests } from "./cryptodev-abi/tls.ts";
import {
  answer,
  auth,
  call,
  crypt,
  hex,
  pattern,
  patternWord,
  queue,
  session,
  srtp,
  sum,
  TLS,
} from "./support/crypto-calls.ts";
import { CryptoDaemon } from "./support/crypto-daemon.ts";
import { encrypted } from "./support/crypto-model.ts";
import { Scratch, until } from "./support/programs.ts";
import { noVm, vmTest } from "./support/vm.ts";
import { guestTool } from "./vm/assets.ts";
import { Guest } from "./vm/guest.ts";

/** A kernel or a QEMU may have to be fetched first. */
const FIRST_MS = 1_200_000;
const TROUBLE = "dmesg | grep -E 'WARNING|BUG|Oops|leak|refcount|Call Trace'";
const scratch = new Scratch();
let daemon: CryptoDaemon;
let guest: Guest;

const programs = () => ({ "bin/cryptodev-tool32": guestTool("cryptodev-tool", "-m32") });

beforeAll(async () => {
  if (noVm !== undefined) return;
  daemon = await CryptoDaemon.start(scratch, { flags: ["--backend", "libcrypto"] });
  const [chardevOption = "", chardev = "", deviceOption = "", device = ""] = daemon.devices;
  guest = await Guest.boot({
    ...daemon.guest,
    programs: programs(),
    devices: [
      ...["-device", "pcie-root-port,id=slot0,chassis=1"],
      ...[chardevOption, chardev, deviceOption, `${device},bus=slot0`],
    ],
  });
}, FIRST_MS);

afterAll(async () => {
  await guest?.stop();
  await daemon?.stop();
  scratch.remove();
}, 120_000);

async function nothingOpen(): Promise<void> {
  await until("everything to be closed", async () => {
    const metrics = await daemon.metrics();
    return ["files", "sessions"].every((name) => metrics.get(`virtio_cryptodevd_${name}`) === 0);
  });
}

for (const width of [64, 32] as const) {
  describe(`a ${width}-bit program`, () => {
    const bench = new Bench(width, () => guest);
    cipherTests(bench);
    lengthTests(bench);
    aeadTests(bench);
    tlsTests(bench);
    srtpTests(bench);
    cphashTests(bench);
    asyncTests(bench);
    mappedTests(bench);

    vmTest("has left nothing open, and the kernel no warning", async () => {
      await nothingOpen();
      expect((await guest.run(TROUBLE)).output).toBe("");
    });
  });
}

describe("QEMU's own device", () => {
  let machine: Guest | undefined;
  afterAll(async () => {
    await machine?.stop();
  }, 120_000);

  vmTest(
    "has no AEAD and no hash copies: EINVAL; but all lengths, jobs and mapped memory",
    async () => {
      const device = "virtio-cryptodev-pci,id=crypto0,backend=builtin";
      const own = await Guest.boot({ devices: ["-device", device], programs: programs() });
      machine = own;
      const [key, iv, long] = [random(16), random(16), 0x200010];
      const aes = { id: 11, name: "aes-cbc", block: 16, iv: 16, keys: [16] };
      const secret = sum(encrypted(aes, key, iv, pattern(long)));
      for (const width of [64, 32] as const) {
        const bench = new Bench(width, () => own);
        const answers = await bench.within(
          [
            session(11, key, 7, random(20)),
            session(21, key, 7, random(20)),
            session(0, "", 104),
            session(0, "", 104),
          ],
          [
            ...[session(50, key), session(51, key), session(101, key)],
            auth({ iv, data: random(32) }),
            auth({ flags: TLS, iv, data: random(32), want: "ci" }),
            srtp({ ses: 2, iv, data: random(32), before: 0, len: 32, authLen: 32 }),
            "cphash 3 3 4",
            // The rest is the driver's.
            crypt({ iv, data: patternWord(long), want: "d" }),
            ...[`anon s ${long}`, `put s ~${long}:1`, "anon i 80", `put i ${hex(iv)}`],
            ...[
              queue({ len: long, src: "s", dst: "s", mac: "i+16", iv: "i" }),
              "poll 3 1 20000",
              "fetch 3",
            ],
            ...[`sum s ${long}`, `map m 3 ${4 << 20} 3 1 0`, `put m ~${long}:1`],
            ...[call({ len: long, src: "m", dst: "m", mac: "i+16", iv: "i" }), `sum m ${long}`],
          ],
        );
        expect(answers.slice(0, 5)).toEqual(Array(5).fill(EINVAL));
        expect(answer(answers[5]).errno).toBe(22);
        expect(answers[6]).toBe(EINVAL);
        expect(answer(answers[7]).data).toBe(secret);
        expect(answers.slice(12)).toEqual([
          ...["ok", "ok 1", `ok 1 0 0 ${long} s+0 s+0 i+16 i+0`, `ok ${secret}`],
          ...["ok", "ok", "ok", `ok ${secret}`],
        ]);
      }
      expect((await own.run(TROUBLE)).output).toBe("");
    },
    FIRST_MS,
  );
});

describe("when the device is unplugged", () => {
  vmTest("memory that is mapped stays, calls say ENODEV, and jobs fail", async () => {
    const lines = [
      ...["open /dev/crypto", session(11, random(16)), session(50, random(16))],
      ...[session(0, "", 104), session(0, "", 104)],
      ...["map m 3 1048576 3 1 0", "put m ~1048576:1"],
      ...[call({ len: 4096, src: "m", dst: "m+524288", iv: "m" }), "put m+524288 ~4096:2"],
      // The device itself goes a moment after its node.
      ...["gone /dev/cryptodev0", "sleep 1000", "sum m 524288", "put m 00", "get m 4"],
      call({ len: 4096, src: "m", dst: "m", iv: "m" }),
      queue({ len: 4096, src: "m", dst: "m", iv: "m" }),
      auth({ ses: 2, iv: random(12), data: "00" }),
      ...[
        session(11, random(16)),
        "cphash 3 4 3",
        "unmap m 1048576",
        "close 3",
        "open /dev/crypto",
      ],
    ];
    const working = new Bench(64, () => guest).calls(lines);
    await until("its sessions", async () => {
      return (await daemon.metrics()).get("virtio_cryptodevd_sessions") === 4;
    });
    await Bun.sleep(500);
    await guest.qmp("device_del", { id: daemon.id });
    const answers = await working;
    const memory = pattern(1 << 20);
    expect(answers.slice(9, 14)).toEqual([
      ...[
        "ok",
        "ok",
        `ok ${sum(memory.subarray(0, 524_288))}`,
        "ok",
        `ok 00${hex(memory.subarray(1, 4))}`,
      ],
    ]);
    expect(answers.slice(14)).toEqual([...Array(5).fill(ENODEV), "ok", "ok", "error 2"]);
    expect((await guest.run(TROUBLE)).output).toBe("");
  });
});
