/**
 * The driver on a kernel that watches itself (test/vm/debug-kernel.ts), under random calls that know the
 * ABI, with devices that are unplugged, and devices that lie: no watcher has anything to report.
 */
import { afterAll, beforeAll, describe, expect } from "bun:test";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { ROOT } from "../src/setup/build.ts";
import { CryptoDaemon } from "./support/crypto-daemon.ts";
import { CryptoTool } from "./support/crypto-tool.ts";
import { Scratch, until } from "./support/programs.ts";
import { noVm, vmTest } from "./support/vm.ts";
import { CACHE, DEBUG_APPEND, debugKernel, guestTool, run } from "./vm/assets.ts";
import { Guest, type GuestOptions } from "./vm/guest.ts";

const scratch = new Scratch();
afterAll(() => scratch.remove());

/** The kernel is built first, where it has not been. */
const FIRST_MS = 1_800_000;
/** As many random calls as are asked for; unasked, as many as a machine does in a while. */
const ASKED = process.env.CRYPTO_FUZZ_CALLS;
const CALLS = Number(ASKED ?? 100_000);
const SECONDS = ASKED === undefined ? 150 : CALLS;
/** Besides, what is under way when a run's time is over may take as long as the fuzzer bears. */
const FUZZ_MS = SECONDS * 1000 + 240_000;
const SEED = Number(process.env.CRYPTO_FUZZ_SEED ?? Math.floor(Math.random() * 2 ** 31));

const LIES = [
  ...["nothing", "short", "long", "sizes", "value", "error", "twice", "bogus", "late"],
  ...["needs-reset", "never", "random"],
];

/** What any of the watchers begins a report with. */
const REPORT = new RegExp(
  [
    ...["KASAN", "BUG", "WARNING", "INFO:", "Oops", "general protection", "Call Trace", "ODEBUG"],
    ...["possible .* (dead)?lock", "possible recursive", "inconsistent lock", "sleeping function"],
    ...[
      "suspicious RCU",
      "DMA-API",
      "pagealloc",
      "refcount_t",
      "corruption",
      "[Kk]mem_?leak:.*new",
    ],
    ...[
      "usercopy",
      "Objects remaining",
      "Poison overwritten",
      "hung_task",
      "blocked for more than",
    ],
  ].join("|"),
);
/** What is said while it boots, of watchers that begin to watch, and of the driver's being no part of the kernel. */
const HARMLESS = /DMA-API: (preallocated|debugging enabled)|loading out-of-tree module/;

/**
 * That the device is to write the same memory for two calls at once: so a program has asked, as by two
 * direct reads of a disk into one page.
 */
const TWICE =
  /.*\[ cut here \].*\n.*cacheline tracking EEXIST[\s\S]*?\[ end trace .*\n(.*DMA-API: Mapped at:\n( .*\n)*)?/g;

/** That there is no memory, where that is so on purpose. */
const NO_MEMORY = /.*(vmalloc error|page allocation failure)[\s\S]*?Mem-Info:/g;

/** The reports since it was asked last, and what follows each. */
async function reports(guest: Guest, harmless = /$^/): Promise<string> {
  const lines = (await guest.run("dmesg -c")).output.replace(harmless, "").split("\n");
  const isReport = (line: string) => REPORT.test(line) && !HARMLESS.test(line);
  const first = lines.findIndex(isReport);
  return first < 0 ? "" : lines.slice(Math.max(0, first - 3), first + 120).join("\n");
}

/** What the driver has allocated and nothing points to any more. */
async function leaks(guest: Guest): Promise<string> {
  // Nothing that is younger than five seconds counts as one.
  const script = `scan() { echo scan > /sys/kernel/debug/kmemleak; }
    sleep 6; scan; sleep 1; scan; cat /sys/kernel/debug/kmemleak`;
  const { output } = await guest.run(script, 180_000);
  return output
    .split(/^(?=unreferenced object)/m)
    .filter((object) => /virtio_cryptodev|vcd_/.test(object))
    .join("");
}

/** Boots the kernel that watches, with the fuzzer. */
async function boot(options: GuestOptions): Promise<Guest> {
  const guest = await Guest.boot({
    ...options,
    kernel: debugKernel(),
    append: DEBUG_APPEND,
    programs: {
      "bin/crypto-fuzz": guestTool("crypto-fuzz"),
      "modules/use_after_free.ko": brokenModule(),
    },
  });
  await guest.run("mount -t debugfs debugfs /sys/kernel/debug; dmesg -n 8");
  return guest;
}

/** A module that does what it must not. @returns its path */
function brokenModule(): string {
  const folder = join(CACHE, "use-after-free");
  mkdirSync(folder, { recursive: true });
  run(["cp", "-ru", `${join(ROOT, "test/fixtures/use-after-free")}/.`, folder]);
  run(["make", "-s", "-C", debugKernel().headers, `M=${folder}`, "modules"]);
  return join(folder, "use_after_free.ko");
}

/** Random calls: the fuzzer's last line. */
async function fuzz(
  guest: Guest,
  path: string,
  calls: number,
  ...words: string[]
): Promise<string> {
  const command = `crypto-fuzz ${path} ${calls} ${SEED} ${words.join(" ")}`;
  const { output } = await guest.run(`${command}; killall -9 crypto-fuzz; true`, FUZZ_MS);
  const line = output.split("\n").find((text) => /^(ok|fault)/.test(text)) ?? output;
  if (process.env.CRYPTO_FUZZ_VERBOSE) console.log(`${command}: ${line}`);
  return `${command}: ${line}`;
}

const expectOk = (text: string) => expect(text).toMatch(/(^|: )ok \d+ calls, /m);

/** Unloads the driver; what was forked by a process that has ended may be on its way still. */
async function unload(guest: Guest): Promise<void> {
  const { output } = await guest.run(`n=0; until rmmod virtio_cryptodev 2> /tmp/why; do
    n=$((n + 1)); [ $n -gt 100 ] && { cat /tmp/why; break; }; sleep 0.2; done; lsmod`);
  expect(output).not.toContain("cryptodev");
}

async function plug(guest: Guest, daemon: CryptoDaemon, number: number): Promise<void> {
  const addr = { type: "unix", data: { path: daemon.socket } };
  const backend = { type: "socket", data: { addr, server: false } };
  await guest.qmp("chardev-add", { id: daemon.id, backend });
  await guest.qmp("device_add", {
    ...{ driver: "vhost-user-test-device-pci", id: daemon.id, chardev: daemon.id },
    bus: `slot${number}`,
    ...{ "virtio-id": 38, num_vqs: 1, vq_size: 1024, config_size: 32 },
  });
  await guest.run(`until [ -e /dev/cryptodev${number} ]; do sleep 0.1; done`);
}

async function unplug(guest: Guest, id: string): Promise<void> {
  await guest.qmp("device_del", { id });
  await until(
    "the device to go",
    () =>
      guest.qmp("qom-list", { path: `/machine/peripheral/${id}` }).then(
        () => false,
        () => true,
      ),
    60_000,
  );
}

describe("the watched kernel", () => {
  let guest: Guest;
  let daemon: CryptoDaemon;
  // None is unplugged or ended before the machine is: that can end stock QEMU.
  const liars: CryptoDaemon[] = [];

  beforeAll(async () => {
    if (noVm !== undefined) return;
    daemon = await CryptoDaemon.start(scratch, { flags: ["--backend", "libcrypto"] });
    const slots = Array.from({ length: LIES.length + 1 }, (_, n) => {
      return ["-device", `pcie-root-port,id=slot${n},chassis=${n + 1}`];
    });
    guest = await boot({ ...daemon.guest, devices: slots.flat() });
    await plug(guest, daemon, 0);
  }, FIRST_MS);

  afterAll(async () => {
    await guest?.stop();
    await daemon?.stop();
    for (const liar of liars) await liar.stop();
  }, 120_000);

  vmTest("has nothing to report of many programs that are killed", async () => {
    const [answer] = await new CryptoTool(guest).calls(["stress /dev/crypto 8 3 3"], 120_000);
    expect(answer).toMatch(/^ok \d+$/);
    expect(await reports(guest)).toBe("");
  });

  vmTest(
    "has nothing to report of random calls, and they come out right",
    async () => {
      expectOk(await fuzz(guest, "/dev/crypto", CALLS, "4", String(SECONDS)));
      expect(await reports(guest)).toBe("");
    },
    FUZZ_MS + 60_000,
  );

  vmTest("has nothing to report where memory can't be had, or not be reached", async () => {
    await guest.run(`for fault in failslab fail_page_alloc fail_usercopy; do
      cd /sys/kernel/debug/$fault; echo Y > task-filter; echo 3 > probability; echo -1 > times
      echo 0 > verbose; [ -e ignore-gfp-wait ] && echo N > ignore-gfp-wait; done`);
    expectOk(await fuzz(guest, "/dev/crypto", CALLS, "4", "15", "failing"));
    await guest.run("for p in /sys/kernel/debug/fail*/probability; do echo 0 > $p; done");
    expect(await reports(guest, NO_MEMORY)).toBe("");
  });

  vmTest(
    "has nothing to report of devices that lie, nor do programs get what isn't theirs",
    async () => {
      await guest.run("echo 1 > /sys/module/virtio_cryptodev/parameters/timeout");
      for (const [n, lie] of LIES.entries()) {
        const liar = await CryptoDaemon.start(scratch, {
          ...{ lie, seed: SEED, id: `lie-${lie}`, flags: ["--backend", "libcrypto"] },
        });
        liars.push(liar);
        await plug(guest, liar, n + 1);
        expectOk(await fuzz(guest, `/dev/cryptodev${n + 1}`, 3000, "4", "5", "lying"));
        expect([lie, await reports(guest)]).toEqual([lie, ""]);
      }
    },
    FUZZ_MS + 240_000,
  );

  vmTest("watches to the end, finds nothing lost, and lets the driver go", async () => {
    expect(await leaks(guest)).toBe("");
    expect((await guest.run("grep debug_locks /proc/lockdep_stats")).output).toMatch(/: +1$/m);
    await unload(guest);
    expect(await reports(guest)).toBe("");
    const { output } = await guest.run("insmod /modules/use_after_free.ko");
    expect(output).toContain("No such device");
    expect(await reports(guest)).toMatch(/BUG: KASAN: .*use-after-free in use_after_free_init/);
  });
});

describe("a device whose DMA is watched too", () => {
  vmTest(
    "may be taken from its driver, and unplugged, in the midst of random calls",
    async () => {
      const device = "virtio-cryptodev-pci,id=crypto0,backend=builtin,bus=slot0,iommu_platform=on";
      const guest = await boot({
        devices: ["-device", "pcie-root-port,id=slot0,chassis=1", "-device", device],
      });
      const [answer] = await new CryptoTool(guest).calls(["stress /dev/crypto 5 3 3"], 120_000);
      expect(answer).toMatch(/^ok \d+$/);
      expect(await reports(guest)).toBe("");
      // Else it has one report at most. They are many, and the console is slow.
      await guest.run("dmesg -n 1; echo 1000000 > /sys/kernel/debug/dma-api/num_errors");
      const work = guest.run(
        `crypto-fuzz /dev/crypto ${CALLS} ${SEED} 4 40 > /tmp/fuzz &
         cd /sys/bus/virtio/drivers/virtio_cryptodev
         for i in 1 2 3 4 5 6; do sleep 2; device=$(echo virtio*)
           echo $device > unbind; sleep 0.5; echo $device > bind; done
         echo rebound > /dev/ttyS0
         wait; cat /tmp/fuzz; killall -9 crypto-fuzz; true`,
        FUZZ_MS,
      );
      await until("it to be bound again", () => guest.console.includes("rebound"), 120_000);
      for (let i = 0; i < 2; i++) {
        await unplug(guest, "crypto0");
        await guest.qmp("device_add", {
          ...{ driver: "virtio-cryptodev-pci", id: "crypto0", backend: "builtin", bus: "slot0" },
          iommu_platform: true,
        });
        await Bun.sleep(4000);
      }
      expectOk(`seed ${SEED}: ${(await work).output}`);
      expect(await reports(guest, TWICE)).toBe("");
      expect(await leaks(guest)).toBe("");
      const { output } = await guest.run("cat /sys/kernel/debug/dma-api/disabled");
      expect(output).toBe("N\n");
      await unload(guest);
      expect(await reports(guest)).toBe("");
      await guest.stop();
    },
    FIRST_MS,
  );
});
