/** The cryptodev shim, and chats whose cipher runs in a device. */
import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { copyFileSync, existsSync, mkdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { CryptodevBackend } from "../src/crypto/cryptodev.ts";
import { agree, selfTest } from "../src/crypto/selftest.ts";
import { loadShim } from "../src/crypto/shim.ts";
import { software } from "../src/crypto/software.ts";
import { ROOT } from "../src/setup/build.ts";
import { CryptoDevice, noDevice } from "./support/crypto-device.ts";
import {
  CLIENT,
  client,
  joined,
  joinedWith,
  RelayProcess,
  Scratch,
  until,
} from "./support/programs.ts";
import { leftOut } from "./support/vm.ts";

setDefaultTimeout(60_000);

const scratch = new Scratch();
const key = scratch.key();
let relay: RelayProcess;

beforeAll(async () => {
  relay = await RelayProcess.start();
});

afterAll(async () => {
  await relay.stop();
  scratch.remove();
});

/** chat-client where software is slow by its clock, so that auto takes the fixture. */
const SLOW_CLIENT = [process.execPath, join(ROOT, "test/fixtures/client-slow-software.ts")];

const withDevice = noDevice === undefined ? test : leftOut(noDevice);

describe("the shim", () => {
  // Sizes, then offsets, of the /dev/crypto ABI on 64-bit Linux.
  const ABI = [48, 16, 24, 32, 40, 48, 4, 6, 8, 16, 24, 32, 40, 268, 132, 260, 264];

  test("has the ABI's layout when Bun's cc compiles it", () => {
    const out = new Uint32Array(32);
    const count = loadShim().shim_layout(out, out.length);
    expect([...out.subarray(0, count)]).toEqual(ABI);
  });

  test("has the ABI's layout and numbers when a C compiler does", () => {
    const source = join(scratch.path, "layout.c");
    const program = join(scratch.path, "layout");
    writeFileSync(
      source,
      `#include <stdio.h>
       #include <linux/ioctl.h>
       #include "${join(ROOT, "cshim/cryptodev.c")}"
       _Static_assert(CIOCGSESSION == _IOWR('c', 102, struct session_op), "CIOCGSESSION");
       _Static_assert(CIOCFSESSION == _IOW('c', 103, u32), "CIOCFSESSION");
       _Static_assert(CIOCCRYPT == _IOWR('c', 104, struct crypt_op), "CIOCCRYPT");
       _Static_assert(CIOCGSESSINFO == _IOWR('c', 107, struct session_info_op), "CIOCGSESSINFO");
       int main(void) {
         u32 out[32]; int i, n = shim_layout(out, 32);
         for (i = 0; i < n; i++) printf("%u ", out[i]);
         return 0;
       }`,
    );
    const compiled = Bun.spawnSync(["gcc", "-Wall", "-Wextra", "-Werror", "-o", program, source]);
    expect(compiled.stderr.toString()).toBe("");
    expect(Bun.spawnSync([program]).stdout.toString().trim().split(" ").map(Number)).toEqual(ABI);
  });

  test("names the call, the errno and a remedy when it fails", () => {
    expect(() => new CryptodevBackend("/no/such/device")).toThrow(
      "/no/such/device: open failed with ENOENT: there is no such device",
    );
    const notCrypto = new CryptodevBackend("/dev/null");
    expect(() => notCrypto.open(new Uint8Array(32), new Uint8Array(32))).toThrow(
      "/dev/null: ioctl CIOCGSESSION (AES-CBC) failed with ENOTTY: it is not a crypto device",
    );
    notCrypto.close();
  });
});

describe("a device", () => {
  withDevice(
    "gives the same bytes as software, at every length, and ends its sessions",
    async () => {
      const device = await CryptoDevice.start(scratch, "same");
      const backend = new CryptodevBackend(device.path);
      selfTest(backend);
      expect(backend.description).toBe(`${device.path} (cbc-aes-fixture, hmac-sha512-fixture)`);
      const [a, b] = [
        crypto.getRandomValues(new Uint8Array(32)),
        crypto.getRandomValues(new Uint8Array(32)),
      ];
      const [hard, soft] = [backend.open(a, b), software.open(a, b)];
      for (const length of [16, 32, 128, 1008, 4096, 32_768]) {
        // An odd offset, since nobody promises alignment.
        const original = crypto.getRandomValues(new Uint8Array(length + 19));
        const [x, y] = [Uint8Array.from(original), Uint8Array.from(original)];
        hard.encrypt(x, 19, length, 3);
        soft.encrypt(y, 19, length, 3);
        expect(Buffer.compare(x, y)).toBe(0);
        const [m, n] = [new Uint8Array(64), new Uint8Array(64)];
        hard.mac(x, 1, length, m);
        soft.mac(y, 1, length, n);
        expect(Buffer.compare(m, n)).toBe(0);
        hard.decrypt(x, 19, length, 3);
        expect(Buffer.compare(x, original)).toBe(0);
        // As whole messages, for which memory would be mapped: there is none behind this file's end.
        expect(agree(hard, soft, length)).toBe(true);
      }
      hard.close();
      expect(device.counts.session).toBe(device.counts.end);
      backend.close();
      await device.stop();
    },
  );

  withDevice(
    "does every encryption of a chat with --crypto PATH; the other end needs none",
    async () => {
      const device = await CryptoDevice.start(scratch, "chat");
      const bob = await joined(relay.port, key, "bob", "--crypto", "software");
      const before = device.counts;
      const ann = client(relay.port, key, "--nick", "ann", "--crypto", device.path);
      ann.end("one\ntwo\nthree\n");
      expect(await ann.exited()).toBe(0);
      await until("three", () => bob.texts().length === 3);
      expect(bob.texts()).toEqual(["one", "two", "three"]);
      expect(ann.stderr).toContain(
        `encryption: ${device.path} (cbc-aes-fixture, hmac-sha512-fixture), as asked`,
      );
      // The self-test, a join, three lines and a leave, at least.
      expect((device.counts.encrypt ?? 0) - (before.encrypt ?? 0)).toBeGreaterThanOrEqual(6);
      bob.kill("SIGKILL");
      await device.stop();
    },
  );

  withDevice(
    "that gives a wrong answer is refused: by --crypto PATH with 74, by auto for software",
    async () => {
      const device = await CryptoDevice.start(scratch, "liar", "lie@1");
      const ann = client(relay.port, key, "--crypto", device.path);
      expect(await ann.exited()).toBe(74);
      expect(ann.stderr).toContain("wrong answer in the self-test");
      await device.asDevCrypto(async () => {
        const auto = client(relay.port, key);
        auto.end("hello\n");
        expect(await auto.exited()).toBe(0);
        expect(auto.stderr).toContain("encryption: software (node:crypto): /dev/crypto");
        expect(auto.stderr).toContain("wrong answer in the self-test");
      });
      await device.stop();
    },
  );

  withDevice(
    "that fails in mid-chat ends one with an explicit path: 74, naming the call",
    async () => {
      const device = await CryptoDevice.start(scratch, "fails", "fault=EIO@40");
      const ann = client(relay.port, key, "--crypto", device.path);
      ann.end(`${"line\n".repeat(100)}`);
      expect([74, 75]).toContain(await ann.exited());
      expect(ann.stderr).toMatch(/ioctl CIOCCRYPT \((AES-CBC|HMAC-SHA512)\) failed with EIO/);
      await device.stop();
    },
  );

  withDevice("that is slower than this processor is not used by auto, which says so", async () => {
    const device = await CryptoDevice.start(scratch, "slow");
    await device.asDevCrypto(async () => {
      const ann = client(relay.port, key);
      const asked = client(relay.port, key, "--crypto", "/dev/crypto");
      for (const one of [ann, asked]) {
        one.end("hello\n");
        expect(await one.exited()).toBe(0);
      }
      expect(ann.stderr).toMatch(
        /encryption: software \(node:crypto\): \/dev\/crypto \(.*-fixture\) (is not a tenth as fast|is 0\.\d times as fast at best|takes too long to be measured)\n/,
      );
      expect(asked.stderr).toMatch(/encryption: \/dev\/crypto \(.*-fixture\), as asked\n/);
    });
    expect(device.counts.session).toBe(device.counts.end);
    await device.stop();
  });

  withDevice(
    "that is unplugged in mid-chat: auto goes on in software, says so, and loses nothing",
    async () => {
      const device = await CryptoDevice.start(scratch, "unplugged");
      const bob = await joined(relay.port, key, "bob", "--crypto", "software");
      await device.asDevCrypto(async () => {
        const ann = await joinedWith(SLOW_CLIENT, relay.port, key, "ann");
        expect(ann.event("crypto")?.text).toMatch(
          /^\/dev\/crypto \(cbc-aes-fixture, hmac-sha512-fixture\): .* times as fast as software$/,
        );
        ann.write("with the device\n");
        await until("the first line", () => bob.texts().length === 1);
        await device.unplug();
        ann.write("without it\nand on\n");
        await until("the other lines", () => bob.texts().length === 3);
        expect(bob.texts()).toEqual(["with the device", "without it", "and on"]);
        bob.write("answer\n");
        await until("the answer", () => ann.texts().includes("answer"));
        const warnings = ann.events().filter((e) => e.event === "warning");
        expect(warnings.map((w) => w.warning)).toEqual(["fallback"]);
        expect(warnings[0]?.text).toMatch(/failed with \w+.*; going on in software$/);
        ann.kill("SIGKILL");
      });
      bob.kill("SIGKILL");
      await device.stop();
    },
  );
});

/** The five files of glibc that a compiled program needs. */
const GLIBC = ["libc.so.6", "libm.so.6", "libpthread.so.0", "libdl.so.2"];

const noChroot =
  noDevice ??
  (existsSync("/lib/x86_64-linux-gnu/libc.so.6") ? undefined : "needs glibc at Debian's place");

(noChroot === undefined ? test : leftOut(noChroot))(
  "the compiled client uses a device in a root with nothing but glibc",
  async () => {
    const root = join(scratch.path, "bare-root");
    const copy = (from: string, to: string) => {
      mkdirSync(dirname(join(root, to)), { recursive: true });
      copyFileSync(from, join(root, to));
    };
    copy(CLIENT, "/chat-client");
    copy(key, "/room.key");
    copy("/lib64/ld-linux-x86-64.so.2", "/lib64/ld-linux-x86-64.so.2");
    for (const library of GLIBC)
      copy(`/lib/x86_64-linux-gnu/${library}`, `/lib/x86_64-linux-gnu/${library}`);
    for (const folder of ["dev", "proc"]) mkdirSync(join(root, folder));
    const device = await CryptoDevice.start(scratch, "bare-root/device");
    Bun.spawnSync(["chmod", "600", join(root, "room.key")]);
    // In a mount namespace of its own: /proc is needed by Bun, and nothing is left behind.
    const script = `mount -t proc proc ${root}/proc && exec chroot ${root} /chat-client 127.0.0.1:${relay.port} --key-file /room.key --crypto /device/crypto`;
    const run = Bun.spawnSync(["unshare", "--mount", "sh", "-c", script], {
      stdin: Buffer.from("from a bare root\n"),
    });
    expect(run.stderr.toString()).toContain(
      "encryption: /device/crypto (cbc-aes-fixture, hmac-sha512-fixture)",
    );
    expect(run.exitCode).toBe(0);
    expect(device.counts.encrypt).toBeGreaterThan(3);
    await device.stop();
  },
);
