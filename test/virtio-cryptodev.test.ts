/**
 * The whole path in a real guest: a program's ioctl, our driver, the virtqueue, our QEMU device and its
 * backend, and what comes back.
 */
import { afterAll, beforeAll, describe, expect } from "bun:test";
import { createCipheriv, createDecipheriv, createHash, createHmac } from "node:crypto";
import { existsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { compile, ROOT } from "../src/setup/build.ts";
import { CryptoDevice, noDevice } from "./support/crypto-device.ts";
import { CryptoTool } from "./support/crypto-tool.ts";
import { HostileRelay } from "./support/hostile-relay.ts";
import { CLIENT, joined, RelayProcess, Scratch, until } from "./support/programs.ts";
import { leftOut, noVm, vmTest } from "./support/vm.ts";
import { backportsKernel, CACHE, qemu, run, stockKernel } from "./vm/assets.ts";
import { Guest, initramfs } from "./vm/guest.ts";

const DEVICE = ["-device", "virtio-cryptodev-pci,id=crypto0,backend=builtin"];
/** How long a guest in a guest may take, in milliseconds. */
const NESTED_MS = 1_500_000;
const PLAIN =
  "6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e5130c81c46a35ce411e5fbc1191a0a52eff69f2445df4f9b17ad2b417be66c3710";
const KEY128 = "2b7e151628aed2a6abf7158809cf4f3c";
const KEY256 = "603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4";
const COUNTING = "000102030405060708090a0b0c0d0e0f";
const ABC = Buffer.from("abc").toString("hex");
const JEFE = Buffer.from("Jefe").toString("hex");
const NOTHING = Buffer.from("what do ya want for nothing?").toString("hex");

let guest: Guest;
let tool: CryptoTool;

beforeAll(async () => {
  if (noVm !== undefined) return;
  guest = await Guest.boot({ devices: DEVICE });
  tool = new CryptoTool(guest);
}, 1_200_000);

afterAll(async () => {
  await guest?.stop();
});

async function statistic(machine: Guest, name: string): Promise<number> {
  const path = "/machine/peripheral/crypto0/virtio-backend";
  return Number(await machine.qmp("qom-get", { path, property: `stat-${name}` }));
}

/** Opens the device, makes one session, and runs calls with fd 3 and session 1. */
async function inSession(session: string, calls: string[]): Promise<string[]> {
  const answers = await tool.calls(["open /dev/crypto", `session 3 ${session}`, ...calls]);
  expect(answers.slice(0, 2)).toEqual(["ok 3", "ok 1"]);
  return answers.slice(2);
}

describe("the nodes", () => {
  vmTest("are made by the kernel, for everyone, and named", async () => {
    const { output } = await guest.run("stat -c '%n %a %F' /dev/crypto /dev/cryptodev0");
    expect(output).toBe(
      "/dev/crypto 666 character special file\n/dev/cryptodev0 666 character special file\n",
    );
  });

  vmTest("are found by udev through the module's alias", async () => {
    const { output } = await guest.run("cat /sys/class/cryptodev/cryptodev0/device/modalias");
    expect(output).toBe("virtio:d0000003Fv00001AF4\n");
  });
});

describe("known answers", () => {
  const CIPHERS: [string, string, string, string, string][] = [
    [
      "SP 800-38A F.1.1, AES-128 ECB",
      `23 ${KEY128} 0 -`,
      "-",
      PLAIN,
      "3ad77bb40d7a3660a89ecaf32466ef97f5d3d58503b9699de785895a96fdbaaf43b1cd7f598ece23881b00e3ed0306887b0c785e27e8ad3f8223207104725dd4",
    ],
    [
      "SP 800-38A F.2.1, AES-128 CBC",
      `11 ${KEY128} 0 -`,
      COUNTING,
      PLAIN,
      "7649abac8119b246cee98e9b12e9197d5086cb9b507219ee95db113a917678b273bed6b8e3c1743b7116e69e222295163ff1caa1681fac09120eca307586e1a7",
    ],
    [
      "SP 800-38A F.2.5, AES-256 CBC",
      `11 ${KEY256} 0 -`,
      COUNTING,
      PLAIN,
      "f58c4c04d6e5f1ba779eabfb5f7bfbd69cfc4e967edb808d679f777bc6702c7d39f23369a9d9bacfa530e26304231461b2eb05e2c39be9fcda6c19078c6a9d1b",
    ],
    [
      "SP 800-38A F.5.1, AES-128 CTR",
      `21 ${KEY128} 0 -`,
      "f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff",
      PLAIN,
      "874d6191b620e3261bef6864990db6ce9806f66b7970fdff8617187bb9fffdff5ae4df3edbd5d35e5b4f09020db03eab1e031dda2fbe03d1792170a0f3009cee",
    ],
    [
      "RFC 3602 case 1, AES-128 CBC",
      "11 06a9214036b8a15b512e03d534120006 0 -",
      "3dafba429d9eb430b422da802c9fac41",
      Buffer.from("Single block msg").toString("hex"),
      "e353779c1079aeb82708942dbe77181a",
    ],
    [
      "IEEE 1619 vector 1, AES-128 XTS",
      `22 ${"00".repeat(32)} 0 -`,
      "00".repeat(16),
      "00".repeat(32),
      "917cf69ebd68b2ec9b9fe9a3eadda692cd43d2f59598ed858c02c2652fbf922e",
    ],
  ];
  for (const [name, session, iv, plain, expected] of CIPHERS) {
    vmTest(`${name}: there, back, and in place`, async () => {
      const answers = await inSession(session, [
        `crypt 3 1 0 0 ${iv} ${plain} c`,
        `crypt 3 1 1 0 ${iv} ${expected} c`,
        `crypt 3 1 0 0 ${iv} ${plain} ci`,
      ]);
      expect(answers.map((line) => line.split(" ")[1])).toEqual([expected, plain, expected]);
    });
  }

  const MACS: [string, string, string, string][] = [
    ["FIPS 180-4, SHA-1 of abc", "0 - 14 -", ABC, "a9993e364706816aba3e25717850c26c9cd0d89d"],
    [
      "FIPS 180-4, SHA-256 of abc",
      "0 - 104 -",
      ABC,
      "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
    ],
    [
      "RFC 4231 case 2, HMAC-SHA-256",
      `0 - 18 ${JEFE}`,
      NOTHING,
      "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
    ],
    [
      "RFC 4231 case 2, HMAC-SHA-512",
      `0 - 20 ${JEFE}`,
      NOTHING,
      "164b7a7bfcf819e2e395fbe73b56e0a387bd64222e831fd610270cd7ea2505549758bf75c05a994a6d034f65f8f0e6fdcaeab1a34d4a6b4b636e070a38bce737",
    ],
  ];
  for (const [name, session, data, expected] of MACS) {
    vmTest(`${name}: as a whole, and in parts`, async () => {
      const half = Math.floor(data.length / 4) * 2;
      const answers = await inSession(session, [
        `crypt 3 1 0 0 - ${data} m`,
        "crypt 3 1 0 1 - 616263 m",
        `crypt 3 1 0 65 - ${data.slice(0, half) || "-"} m`,
        `crypt 3 1 0 2 - ${data.slice(half)} m`,
        `crypt 3 1 0 0 - ${data} m`,
      ]);
      const digests = answers.map((line) => line.split(" ")[2]?.slice(0, expected.length));
      expect([digests[0], digests[3], digests[4]]).toEqual([expected, expected, expected]);
    });
  }
});

describe("any data", () => {
  /** Lengths from 0 to 300 and a few up to the limit. */
  const LENGTHS = [...Array(301).keys(), 1000, 4096, 4097, 16_384, 65_536];
  const random = (bytes: number) => Buffer.from(crypto.getRandomValues(new Uint8Array(bytes)));

  vmTest("AES-CTR equals node:crypto at every length, at an odd address", async () => {
    const [key, iv] = [random(32), random(16)];
    const data = LENGTHS.map((length) => random(length));
    const answers = await inSession(
      `21 ${key.toString("hex")} 0 -`,
      data.map((bytes) => `crypt 3 1 0 0 ${iv.toString("hex")} ${bytes.toString("hex") || "-"} c`),
    );
    for (const [i, bytes] of data.entries()) {
      const expected = createCipheriv("aes-256-ctr", key, iv).update(bytes).toString("hex");
      expect(answers[i]?.split(" ")[1]).toBe(expected || "-");
    }
  });

  vmTest("AES-CBC equals node:crypto at every multiple of its block, both ways", async () => {
    const [key, iv] = [random(24), random(16)];
    const data = LENGTHS.filter((length) => length % 16 === 0).map((length) => random(length));
    const answers = await inSession(
      `11 ${key.toString("hex")} 0 -`,
      data.flatMap((bytes) => {
        const text = bytes.toString("hex") || "-";
        return [0, 1].map((op) => `crypt 3 1 ${op} 0 ${iv.toString("hex")} ${text} c`);
      }),
    );
    for (const [i, bytes] of data.entries()) {
      const encrypted = createCipheriv("aes-192-cbc", key, iv).setAutoPadding(false).update(bytes);
      const decrypted = createDecipheriv("aes-192-cbc", key, iv)
        .setAutoPadding(false)
        .update(bytes);
      expect(answers[2 * i]?.split(" ")[1]).toBe(encrypted.toString("hex") || "-");
      expect(answers[2 * i + 1]?.split(" ")[1]).toBe(decrypted.toString("hex") || "-");
    }
  });

  vmTest("hashes and MACs equal node:crypto at every length", async () => {
    const key = random(64);
    const data = LENGTHS.map((length) => random(length));
    for (const [mac, compute] of [
      [
        `18 ${key.toString("hex")}`,
        (b: Buffer) => createHmac("sha256", key).update(b).digest("hex"),
      ],
      ["106 -", (b: Buffer) => createHash("sha512").update(b).digest("hex")],
    ] as const) {
      const answers = await inSession(
        `0 - ${mac}`,
        data.map((b) => `crypt 3 1 0 0 - ${b.toString("hex") || "-"} m`),
      );
      for (const [i, bytes] of data.entries()) {
        expect(answers[i]?.split(" ")[2]?.slice(0, compute(bytes).length)).toBe(compute(bytes));
      }
    }
  });

  vmTest("a cipher with a MAC hashes the plaintext, both ways", async () => {
    const key = random(20);
    const [there = "", back = ""] = await inSession(`11 ${KEY128} 7 ${key.toString("hex")}`, [
      `crypt 3 1 0 0 ${COUNTING} ${PLAIN} cm`,
      `crypt 3 1 1 0 ${COUNTING} 7649abac8119b246cee98e9b12e9197d cm`,
    ]);
    const mac = (hex: string) =>
      createHmac("sha1", key).update(Buffer.from(hex, "hex")).digest("hex");
    expect(there.split(" ")[2]?.slice(0, 40)).toBe(mac(PLAIN));
    expect(back.split(" ")[2]?.slice(0, 40)).toBe(mac(PLAIN.slice(0, 32)));
  });

  vmTest("without an IV a session goes on from its last one; WRITE_IV gives the next", async () => {
    const [first = "", second = "", written = ""] = await inSession(`11 ${KEY128} 0 -`, [
      `crypt 3 1 0 0 ${COUNTING} ${PLAIN.slice(0, 64)} c`,
      `crypt 3 1 0 0 - ${PLAIN.slice(64)} c`,
      `crypt 3 1 0 4 ${COUNTING} ${PLAIN} c`,
    ]);
    const whole = written.split(" ")[1] ?? "";
    expect(`${first.split(" ")[1]}${second.split(" ")[1]}`).toBe(whole);
    expect(written.split(" ")[3]).toBe(whole.slice(-32));
  });
});

describe("errors are those of the ABI", () => {
  const EINVAL = "error 22";
  const OPEN = ["open /dev/crypto", `session 3 11 ${KEY128} 0 -`];
  const CASES: [string, string[], string][] = [
    ["neither cipher nor mac", ["session 3 0 - 0 -"], EINVAL],
    ["an unknown cipher", [`session 3 999 ${KEY128} 0 -`], EINVAL],
    ["a mac as a cipher", [`session 3 18 ${KEY128} 0 -`], EINVAL],
    ["an unknown mac", ["session 3 0 - 999 00"], EINVAL],
    ["a cipher that the backend lacks (AES-GCM)", [`session 3 50 ${KEY128} 0 -`], EINVAL],
    ["a key of 5 bytes", ["session 3 11 0102030405 0 -"], EINVAL],
    ["a key of 65 bytes", [`session 3 11 ${"00".repeat(65)} 0 -`], EINVAL],
    ["a MAC key of 513 bytes", [`session 3 0 - 18 ${"00".repeat(513)}`], EINVAL],
    ["a length that is no multiple of the block", [`crypt 3 1 0 0 ${COUNTING} 0011 c`], EINVAL],
    ["an unknown op", [`crypt 3 1 2 0 ${COUNTING} ${PLAIN} c`], EINVAL],
    ["an unknown session", [`crypt 3 77 0 0 ${COUNTING} ${PLAIN} c`], EINVAL],
    ["ending an unknown session", ["end 3 77"], EINVAL],
    [
      "a session of another file",
      ["open /dev/crypto", `crypt 4 1 0 0 ${COUNTING} ${PLAIN} c`],
      EINVAL,
    ],
    ["a session that has ended", ["end 3 1", `crypt 3 1 0 0 ${COUNTING} ${PLAIN} c`], EINVAL],
    [
      "more bytes than the device takes, and no whole block",
      [`zeros 3 1 ${(1 << 20) + 8}`],
      EINVAL,
    ],
    [
      "more bytes than the device takes, where a mode has no parts",
      [`session 3 22 ${KEY128}${COUNTING} 0 -`, `zeros 3 2 ${(1 << 20) + 16}`],
      EINVAL,
    ],
    ["an unknown ioctl", ["ioctl 3 0xc0046399 0"], EINVAL],
    ["CIOCKEY", ["ioctl 3 0xc0906369 0"], EINVAL],
    ["a pointer to nowhere in the call", ["ioctl 3 0xc0306368 8"], "error 14"],
    ["a pointer to nowhere in its structure", ["badptr 3 1"], "error 14"],
  ];
  for (const [name, calls, expected] of CASES) {
    vmTest(`${name}: ${expected}`, async () => {
      expect((await tool.calls([...OPEN, ...calls])).at(-1)).toBe(expected);
    });
  }

  vmTest(
    "and a clone of a file shares its sessions, CIOCASYMFEAT is 0, names are told",
    async () => {
      const answers = await tool.calls([
        ...OPEN,
        "clone 3",
        `crypt 4 1 0 0 ${COUNTING} ${PLAIN.slice(0, 32)} c`,
        "asymfeat 3",
        "info 3 1",
      ]);
      expect(answers.slice(2)).toEqual([
        "ok 4",
        `ok 7649abac8119b246cee98e9b12e9197d - ${COUNTING}`,
        "ok 0",
        "ok aes-cbc-qemu -",
      ]);
    },
  );
});

describe("the host", () => {
  vmTest("has nothing open after 5,000 opens and sessions, and the guest no warning", async () => {
    expect(await tool.calls(["churn /dev/crypto 5000"], 120_000)).toEqual(["ok"]);
    expect([await statistic(guest, "files"), await statistic(guest, "sessions")]).toEqual([0, 0]);
    expect((await guest.run("dmesg | grep -E 'WARNING|BUG|Oops|leak'")).output).toBe("");
  });

  vmTest("closes what a killed program had open, also in the middle of its calls", async () => {
    await guest.run(`for i in 1 2 3 4 5 6; do
      crypto-bench /dev/crypto 65536 20000 4 & done
      sleep 2; kill -9 $(pidof crypto-bench); sleep 1`);
    expect([await statistic(guest, "files"), await statistic(guest, "sessions")]).toEqual([0, 0]);
    expect((await tool.calls(["open /dev/crypto"])).at(0)).toBe("ok 3");
  });

  vmTest(
    "survives a minute of 8 processes of 4 threads at random work, killed at random",
    async () => {
      const [answer = ""] = await tool.calls(["stress /dev/crypto 60 8 4"], 120_000);
      expect(answer).toMatch(/^ok \d+$/);
      expect(Number(answer.split(" ")[1])).toBeGreaterThan(1000);
      await Bun.sleep(500);
      expect([await statistic(guest, "files"), await statistic(guest, "sessions")]).toEqual([0, 0]);
      expect((await guest.run("dmesg | grep -E 'WARNING|BUG|Oops|leak'")).output).toBe("");
    },
  );
});

describe("Debian's newer kernel", () => {
  vmTest(
    "builds the driver without a warning, finds the device and gets known answers",
    async () => {
      const machine = await Guest.boot({ devices: DEVICE, kernel: backportsKernel() });
      expect((await machine.run("uname -r")).output).toStartWith("6.12.");
      const answers = await new CryptoTool(machine).calls([
        "open /dev/crypto",
        `session 3 11 ${KEY128} 0 -`,
        `crypt 3 1 0 0 ${COUNTING} ${PLAIN.slice(0, 32)} c`,
        "zeros 3 1 1048576",
        "churn /dev/crypto 500",
      ]);
      const known = `ok 7649abac8119b246cee98e9b12e9197d - ${COUNTING}`;
      expect(answers).toEqual(["ok 3", "ok 1", known, "ok", "ok"]);
      expect(await statistic(machine, "files")).toBe(0);
      expect((await machine.run("dmesg | grep -E 'WARNING|BUG|Oops'")).output).toBe("");
      await machine.stop();
    },
  );
});

describe("several queues", () => {
  for (const [name, more] of [
    ["in the main loop", ""],
    ["in two iothreads", ',"iothread-vq-mapping":[{"iothread":"t0"},{"iothread":"t1"}]'],
  ] as const) {
    vmTest(`${name}: stress on two processors, and nothing stays open`, async () => {
      const device = `{"driver":"virtio-cryptodev-pci","id":"crypto0","backend":"builtin","num-queues":2${more}}`;
      const machine = await Guest.boot({
        devices: [
          ...["-object", "iothread,id=t0", "-object", "iothread,id=t1"],
          ...["-device", device],
        ],
      });
      const answers = await new CryptoTool(machine).calls([
        "open /dev/crypto",
        `session 3 11 ${KEY128} 0 -`,
        `crypt 3 1 0 0 ${COUNTING} ${PLAIN.slice(0, 32)} c`,
        "stress /dev/crypto 20 6 4",
      ]);
      expect(answers[2]).toBe(`ok 7649abac8119b246cee98e9b12e9197d - ${COUNTING}`);
      expect(answers[3]).toMatch(/^ok \d{3,}$/);
      // It is reset under work too, and QEMU's monitor answers all the time.
      await machine.run(`for i in 1 2 3 4; do crypto-bench /dev/crypto 16384 4000 4 & done 2>/dev/null
        cd /sys/bus/virtio/drivers/virtio_cryptodev
        device=$(basename $(readlink /sys/class/cryptodev/cryptodev0/device))
        for i in 1 2 3; do sleep 0.5; echo $device > unbind; echo $device > bind; done; wait`);
      await until("everything to be closed", async () => {
        return (
          (await statistic(machine, "files")) === 0 && (await statistic(machine, "sessions")) === 0
        );
      });
      expect((await machine.run("dmesg | grep -E 'WARNING|BUG|Oops'")).output).toBe("");
      await machine.stop();
    });
  }
});

describe("the device's properties", () => {
  const CASES: [string, string][] = [
    [
      "backend=cryptodev,path=/no/such/node",
      "backend cryptodev: can't use /no/such/node: No such file",
    ],
    ["backend=bogus", "backend 'bogus' is none of auto, cryptodev, builtin"],
    ["backend=cryptodev,path=/etc/passwd", "can't use /etc/passwd: Inappropriate ioctl"],
    ["backend=builtin,max-files=0", "max-files must be 1 to 1048576"],
    ["backend=builtin,max-bytes=1048577", "max-bytes must be 1 to 1048576"],
    ["backend=builtin,max-bytes=1M,max-buffered=64K", "max-buffered must be at least max-bytes"],
    ["backend=builtin,num-queues=0", "num-queues must be 1 to 64"],
    ["backend=builtin,ioeventfd=off,iothread=t", "an iothread needs ioeventfd=on"],
  ];
  for (const [properties, message] of CASES) {
    vmTest(`${properties} is refused with what is wrong`, async () => {
      const { program, firmware } = qemu();
      const device = `virtio-cryptodev-pci,${properties}`;
      const paths = firmware.flatMap((path) => ["-L", path]);
      const command = [
        program,
        "-M",
        "q35",
        "-nodefaults",
        "-nographic",
        ...paths,
        ...["-object", "iothread,id=t"],
        "-device",
        device,
      ];
      const { exitCode, stderr } = Bun.spawnSync(command);
      expect(exitCode).toBe(1);
      expect(stderr.toString()).toContain(message);
    });
  }

  vmTest("-only-migratable is refused with why", async () => {
    const { program, firmware } = qemu();
    const command = [program, "-M", "q35", "-nodefaults", "-nographic", "-only-migratable"];
    const paths = firmware.flatMap((path) => ["-L", path]);
    const device = ["-device", "virtio-cryptodev-pci,backend=builtin"];
    const { exitCode, stderr } = Bun.spawnSync([...command, ...paths, ...device]);
    expect(exitCode).toBe(1);
    expect(stderr.toString()).toContain("can't be used with -only-migratable");
  });

  vmTest("make start-line is one that starts a machine", async () => {
    qemu();
    const line = run([
      ...["make", "-s", "-C", join(ROOT, "qemu-patch"), `CACHE=${CACHE}`, "start-line"],
    ]).trim();
    const kernel = stockKernel();
    const { stdout } = Bun.spawnSync([
      ...line.split(" "),
      ...["-M", "q35", "-nodefaults", "-nographic", "-no-reboot", "-serial", "stdio"],
      ...["-kernel", kernel.image, "-append", "console=ttyS0 panic=-1"],
    ]);
    expect(stdout.toString()).toContain("Linux version 6.1.");
  });

  vmTest("limits are kept, each with its errno, and auto says what it took", async () => {
    const small = await Guest.boot({
      devices: [
        "-device",
        "virtio-cryptodev-pci,id=crypto0,path=/no/such/node,max-files=2,max-sessions=1,max-bytes=64",
      ],
    });
    expect(small.console).toContain(
      "virtio-cryptodev: backend builtin, since /no/such/node: No such file or directory",
    );
    expect(
      await small.qmp("qom-get", {
        path: "/machine/peripheral/crypto0/virtio-backend",
        property: "stat-backend",
      }),
    ).toBe("builtin");
    const answers = await new CryptoTool(small).calls([
      "open /dev/crypto",
      "open /dev/crypto",
      "open /dev/crypto",
      `session 3 11 ${KEY128} 0 -`,
      `session 3 11 ${KEY128} 0 -`,
      "zeros 3 1 64",
      "zeros 3 1 80",
      "close 4",
      "open /dev/crypto",
    ]);
    expect(answers).toEqual([
      "ok 3",
      "ok 4",
      "error 24",
      "ok 1",
      "error 12",
      "ok",
      // In parts, since the device takes 64 bytes at once
      "ok",
      "ok",
      "ok 4",
    ]);
    await small.stop();
  });
});

describe("backend=cryptodev", () => {
  const scratch = new Scratch();
  afterAll(() => scratch.remove());
  const KNOWN = [
    "open /dev/crypto",
    `session 3 11 ${KEY128} 0 -`,
    "info 3 1",
    `crypt 3 1 0 0 ${COUNTING} ${PLAIN.slice(0, 64)} c`,
  ];
  const ANSWER = `ok 7649abac8119b246cee98e9b12e9197d5086cb9b507219ee95db113a917678b2 - ${COUNTING}`;

  const withNode = noDevice === undefined ? vmTest : leftOut(noDevice);
  withNode(
    "does each call on the host's node, and passes its errors on when it goes away",
    async () => {
      const node = await CryptoDevice.start(scratch, "host-node");
      const backend = `backend=cryptodev,path=${node.path}`;
      const machine = await Guest.boot({
        devices: ["-device", `virtio-cryptodev-pci,id=crypto0,${backend}`],
      });
      const inGuest = new CryptoTool(machine);
      const big = "zeros 3 1 65536";
      expect(await inGuest.calls([...KNOWN, big, `session 3 99 ${KEY128} 0 -`])).toEqual([
        "ok 3",
        "ok 1",
        "ok cbc-aes-fixture -",
        ANSWER,
        "ok",
        "error 22",
      ]);
      // Each once more, with which QEMU has seen what it is.
      expect(node.counts).toMatchObject({ session: 2, end: 2, encrypt: 3 });
      const orphaned = machine.run(
        `{ printf '${KNOWN.slice(0, 2).join("\\n")}\\n'; sleep 3; echo ${big}; } | cryptodev-tool`,
      );
      await until("the second session", () => node.counts.session === 3);
      await node.unplug();
      expect((await orphaned).output).toMatch(/^ok 3\nok 1\nerror \d+\n$/);
      // The machine itself is unharmed.
      expect((await machine.run("echo alive")).output).toBe("alive\n");
      await machine.stop();
      await node.stop();
    },
  );

  vmTest(
    "in a guest in a guest: what the inner one's programs and chat encrypt, the outer one's device does",
    async () => {
      const kernel = stockKernel();
      const key = scratch.key("nested.key");
      // Everything takes its time there, also to say HELLO.
      const relay = await RelayProcess.start("--handshake-timeout", "300", "--ping", "600");
      const bob = await joined(relay.port, key, "bob", "--crypto", "software");
      const inner = join(scratch.path, "inner-initrd");
      // The inner machine's network is one step further from the host, whose address stays the same.
      const then = `exec > /dev/ttyS0 2>&1
        printf '${KNOWN.join("\n")}\n' | cryptodev-tool
        ip addr flush dev eth0; ip addr add 10.0.3.15/24 dev eth0; ip route add default via 10.0.3.2
        chmod 600 /room.key
        { echo hello-from-within; until grep -q hello-from-without /tmp/chat; do sleep 1; done; } |
          chat-client 10.0.2.2:${relay.port} --key-file /room.key --nick ann --timeout 900 --crypto /dev/crypto > /tmp/chat 2>&1
        cat /tmp/chat
        poweroff -f\n`;
      const innerPrograms = { "bin/chat-client": CLIENT, "room.key": key };
      writeFileSync(inner, initramfs(kernel, then, { programs: innerPrograms }));
      const { program, firmware } = qemu();
      const libraries = run(["ldd", program]).match(/\/\S+\.so\S*/g) ?? [];
      const programs: Record<string, string> = {
        "bin/qemu": program,
        bzImage: kernel.image,
        "inner-initrd": inner,
      };
      for (const library of libraries) programs[library.slice(1)] = library;
      for (const file of ["bios-256k.bin", "linuxboot_dma.bin", "kvmvapic.bin"]) {
        const found = firmware.map((folder) => join(folder, file)).find((path) => existsSync(path));
        if (found !== undefined) programs[`firmware/${file}`] = found;
      }
      const outer = await Guest.boot({ devices: DEVICE, programs, memory: 3072 });
      const before = await statistic(outer, "aes-cbc");
      const chat = outer.run(
        `qemu -M q35 -accel tcg -cpu Haswell -smp 1 -m 768 -nodefaults -nographic -no-reboot -L /firmware \\
         -kernel /bzImage -initrd /inner-initrd -append 'console=ttyS0 quiet panic=-1' -serial stdio \\
         -netdev user,id=net,net=10.0.3.0/24,host=10.0.3.2,dhcpstart=10.0.3.15 \\
         -device virtio-net-pci,netdev=net,disable-legacy=on,romfile= \\
         -device virtio-cryptodev-pci,backend=cryptodev`,
        NESTED_MS,
      );
      await until(
        "the inner guest's message",
        () => bob.texts().includes("hello-from-within"),
        NESTED_MS,
      );
      bob.write("hello-from-without\n");
      const output = (await chat).output.replaceAll("\r", "");
      expect(output).toContain(`ok 3\nok 1\nok aes-cbc-qemu -\n${ANSWER}\n`);
      expect(output).toContain(
        "encryption: /dev/crypto (aes-cbc-qemu, hmac-sha512-qemu), as asked",
      );
      expect(output).toContain("bob: hello-from-without");
      // The known answer, the client's self-test, what it sealed and what it opened
      expect(await statistic(outer, "aes-cbc")).toBeGreaterThanOrEqual(before + 6);
      expect([await statistic(outer, "files"), await statistic(outer, "sessions")]).toEqual([0, 0]);
      bob.kill("SIGKILL");
      await outer.stop();
      await relay.stop();
    },
    NESTED_MS,
  );
});

vmTest("the example of mapped buffers encrypts there what it does elsewhere", async () => {
  const scratch = new Scratch();
  const program = join(scratch.path, "mapped");
  const source = join(ROOT, "linux-driver/examples/mapped.c");
  const include = join(ROOT, "linux-driver/include");
  const flags = ["-O2", "-Wall", "-Wextra", "-Werror", "-static", "-I", include];
  await run(["gcc", ...flags, "-o", program, source]);
  const guest = await Guest.boot({ devices: DEVICE, programs: { "bin/mapped": program } });
  expect((await guest.run("mapped")).output).toMatch(
    /^decrypted: attack at dawn\n1 MiB, mapped: [\d.]+ ms; copied: [\d.]+ ms, [\d.]+ times as long\n$/,
  );
  await guest.stop();
  scratch.remove();
});

describe("chats", () => {
  const scratch = new Scratch();
  afterAll(() => scratch.remove());

  vmTest(
    "of two guests: the device does every encryption, the relay sees no plaintext",
    async () => {
      const key = scratch.key("two-guests.key");
      const relay = await RelayProcess.start();
      const tap = new HostileRelay(relay.port);
      const programs = { "bin/chat-client": CLIENT, "room.key": key };
      const [a, b] = await Promise.all([
        Guest.boot({ devices: DEVICE, programs }),
        Guest.boot({ devices: DEVICE, programs }),
      ]);
      const talk = (nick: string, text: string) => `chmod 600 /room.key
      { sleep 6; echo '${text}'; sleep 8; } | chat-client 10.0.2.2:${tap.port} --key-file /room.key \\
        --nick ${nick} --crypto /dev/crypto --history 100`;
      const [ann, bob] = await Promise.all([
        a.run(talk("ann", "hello-from-the-first-guest"), 120_000),
        b.run(talk("bob", "hello-from-the-second-guest"), 120_000),
      ]);
      expect([ann.code, bob.code]).toEqual([0, 0]);
      expect(ann.output).toContain("bob: hello-from-the-second-guest");
      expect(bob.output).toContain("ann: hello-from-the-first-guest");
      for (const result of [ann, bob])
        expect(result.output).toContain(
          "encryption: /dev/crypto (aes-cbc-qemu, hmac-sha512-qemu), as asked",
        );
      const captured = Buffer.concat(tap.capture);
      expect(captured.length).toBeGreaterThan(1000);
      for (const secret of ["hello-from", "ann", "bob"])
        expect(captured.includes(`${secret}`) && secret.length > 5).toBe(false);
      for (const machine of [a, b]) {
        // Self-test, join, message and leave sealed, and all that came opened: each a cipher call.
        expect(await statistic(machine, "aes-cbc")).toBeGreaterThanOrEqual(6);
        expect(await statistic(machine, "hmac-sha512")).toBeGreaterThanOrEqual(6);
        expect(await statistic(machine, "errors")).toBe(0);
        await machine.stop();
      }
      tap.stop();
      await relay.stop();
    },
  );

  vmTest("go on in software when the device is unplugged in mid-chat", async () => {
    const key = scratch.key("unplug.key");
    const relay = await RelayProcess.start();
    const bob = await joined(relay.port, key, "bob", "--crypto", "software");
    // The processor would be faster: this client's clock says otherwise.
    const slow = join(scratch.path, "client-slow-software");
    await compile(join(ROOT, "test/fixtures/client-slow-software.ts"), slow);
    const machine = await Guest.boot({
      devices: [
        "-device",
        "pcie-root-port,id=slot1",
        "-device",
        "virtio-cryptodev-pci,id=crypto0,backend=builtin,bus=slot1",
      ],
      programs: { "bin/chat-client": slow, "room.key": key },
    });
    // The device's memory is used for it, and given back when the device has failed.
    const long = "long".repeat(5000);
    const chat = machine.run(
      `chmod 600 /room.key
      mapped() { grep -q 'rw-s .*crypto' /proc/$(pidof chat-client)/maps; }
      { echo ${long}; until mapped; do sleep 0.2; done; echo with-the-device
        while [ -e /dev/crypto ]; do sleep 1; done; sleep 1
        echo ${long}; echo without-it; while mapped; do sleep 0.2; done; } |
        chat-client 10.0.2.2:${relay.port} --key-file /room.key --nick ann`,
      120_000,
    );
    await until("the first message", () => bob.texts().includes("with-the-device"), 60_000);
    await machine.qmp("device_del", { id: "crypto0" });
    const result = await chat;
    expect(result.output).toMatch(
      /encryption: \/dev\/crypto \(aes-cbc-qemu, hmac-sha512-qemu\): .* times as fast as software/,
    );
    expect(result.output).toMatch(/\/dev\/crypto: .* failed with \w+.*going on in software/);
    expect(result.code).toBe(0);
    await until("the second message", () => bob.texts().includes("without-it"));
    expect(bob.texts()).toEqual([long, "with-the-device", long, "without-it"]);
    bob.kill("SIGKILL");
    await machine.stop();
    await relay.stop();
  });
});
