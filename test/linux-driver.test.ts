/** The guest driver as a piece of the kernel: how it is built, and what becomes of it when its device changes. */
import { afterAll, beforeAll, describe, expect } from "bun:test";
import {
  closeSync,
  existsSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { ROOT } from "../src/setup/build.ts";
import { CryptoDevice, noDevice } from "./support/crypto-device.ts";
import { CryptoTool } from "./support/crypto-tool.ts";
import { Scratch, until } from "./support/programs.ts";
import { leftOut, noVm, vmTest } from "./support/vm.ts";
import { CACHE, driverSource, guestTool, makeDriver, run, stockKernel } from "./vm/assets.ts";
import { Guest } from "./vm/guest.ts";

const KEY = "2b7e151628aed2a6abf7158809cf4f3c";
const IV = "000102030405060708090a0b0c0d0e0f";
const PLAIN = "6bc1bee22e409f96e93d7e117393172a";
const CIPHERTEXT = "7649abac8119b246cee98e9b12e9197d";
const SESSION = `session 3 11 ${KEY} 0 -`;
const CRYPT = `crypt 3 1 0 0 ${IV} ${PLAIN} c`;
const KNOWN = ["open /dev/crypto", SESSION, CRYPT];
const ANSWERS = ["ok 3", "ok 1", `ok ${CIPHERTEXT} - ${IV}`];
const TROUBLE = "dmesg | grep -E 'WARNING|BUG|Oops|leak|refcount'";

const scratch = new Scratch();
afterAll(() => scratch.remove());

async function statistic(machine: Guest, name: string, device = "crypto0"): Promise<number> {
  const path = `/machine/peripheral/${device}/virtio-backend`;
  return Number(await machine.qmp("qom-get", { path, property: `stat-${name}` }));
}

async function nothingOpen(machine: Guest): Promise<void> {
  for (let i = 0; i < 100 && (await statistic(machine, "files")) > 0; i++) await Bun.sleep(50);
  expect([await statistic(machine, "files"), await statistic(machine, "sessions")]).toEqual([0, 0]);
}

describe("the source", () => {
  vmTest("is clean under sparse and with all of the compiler's warnings", async () => {
    const folder = driverSource(join(scratch.path, "driver"));
    // A complaint of sparse's fails the build, like a warning of the compiler's.
    makeDriver(folder, stockKernel().headers, "C=2", "CF=-Wsparse-error");
    expect(readdirSync(folder)).toContain("virtio_cryptodev.ko");
  });

  vmTest("is clean under checkpatch, strictly", async () => {
    // Linux's own, as QEMU's source has it with U-Boot's. A module built apart from the kernel has to
    // ask for its version, which checkpatch would have in no file of the kernel's.
    const program = join(CACHE, "qemu-src/roms/u-boot/scripts/checkpatch.pl");
    const ignored = "--ignore=LINUX_VERSION_CODE,CONSTANT_COMPARISON";
    const files = ["linux-driver", "linux-driver/include/crypto"].flatMap((folder) =>
      readdirSync(join(ROOT, folder))
        .filter((file) => /\.[ch]$/.test(file))
        .map((file) => join(ROOT, folder, file)),
    );
    const options = ["--no-tree", "--strict", "--max-line-length=100", ignored, "--file"];
    expect(run(["perl", program, ...options, ...files])).not.toMatch(/^(ERROR|WARNING|CHECK):/m);
  });

  vmTest("installs so that the device's alias leads to it", async () => {
    const folder = driverSource(join(scratch.path, "driver"));
    const { headers, release } = stockKernel();
    makeDriver(
      folder,
      headers,
      "modules",
      "modules_install",
      `INSTALL_MOD_PATH=${scratch.path}/root`,
    );
    const aliases = readFileSync(join(scratch.path, "root/lib/modules", release, "modules.alias"));
    expect(aliases.toString()).toMatch(/^alias virtio:d0000003Fv\* virtio_cryptodev$/m);
    expect(aliases.toString()).toMatch(/^alias virtio:d00000026v\* virtio_cryptodev$/m);
    const header = join(scratch.path, "root/usr/include/crypto/cryptodev.h");
    const ours = readFileSync(join(ROOT, "linux-driver/include/crypto/cryptodev.h"), "utf8");
    expect(readFileSync(header, "utf8")).toBe(ours);
    const uninstall = () =>
      makeDriver(folder, headers, "uninstall", `INSTALL_MOD_PATH=${scratch.path}/root`);
    uninstall();
    expect(run(["find", `${scratch.path}/root`, "-name", "virtio_cryptodev.ko*"])).toBe("");
    expect(existsSync(header)).toBe(false);
    // Another /dev/crypto's header of that name stays, and as it is.
    writeFileSync(header, "/* another */\n");
    makeDriver(folder, headers, "install-header", `INSTALL_MOD_PATH=${scratch.path}/root`);
    uninstall();
    expect(readFileSync(header, "utf8")).toBe("/* another */\n");
  });

  vmTest("without headers make names the package; DKMS gets sources and nothing else", async () => {
    const folder = driverSource(join(scratch.path, "driver"));
    const make = (...words: string[]) => Bun.spawnSync(["make", "-s", "-C", folder, ...words]);
    const { exitCode, stderr } = make("KDIR=/no/such/headers");
    expect(exitCode).not.toBe(0);
    expect(stderr.toString()).toContain("apt install linux-headers-");
    run([
      "make",
      "-s",
      "-C",
      join(ROOT, "linux-driver"),
      "dkms-source",
      `DESTDIR=${scratch.path}/dkms`,
    ]);
    const [source = ""] = readdirSync(join(scratch.path, "dkms/usr/src"));
    const files = readdirSync(join(scratch.path, "dkms/usr/src", source), {
      recursive: true,
      withFileTypes: true,
    })
      .filter((entry) => entry.isFile())
      .map((entry) => entry.name);
    expect(source).toMatch(/^virtio-cryptodev-\d+\.\d+\.\d+$/);
    expect(files).toContain("dkms.conf");
    expect(files).toContain("cryptodev.h");
    expect(files.filter((file) => !/\.([ch]|conf)$|^(Kbuild|Makefile)$/.test(file))).toEqual([]);
  });
});

describe("with a device that stays", () => {
  let machine: Guest;
  let tool: CryptoTool;

  beforeAll(async () => {
    if (noVm !== undefined) return;
    machine = await Guest.boot({
      devices: ["-device", "virtio-cryptodev-pci,id=crypto0,backend=builtin"],
      programs: {
        "bin/cryptodev-tool32": guestTool("cryptodev-tool", "-m32"),
        "bin/crypto-bench32": guestTool("crypto-bench", "-m32"),
      },
    });
    tool = new CryptoTool(machine);
  }, 1_200_000);

  afterAll(async () => {
    await machine?.stop();
  });

  vmTest("32-bit programs get known answers and the ABI's errors", async () => {
    const answers = await new CryptoTool(machine, "cryptodev-tool32").calls([
      ...KNOWN,
      "info 3 1",
      "clone 3",
      "asymfeat 3",
      "session 3 0 - 18 4a656665",
      "crypt 3 2 0 0 - 7768617420646f2079612077616e7420666f72206e6f7468696e673f m",
      "badptr 3 1",
      "session 3 999 00 0 -",
      "end 3 1",
      "end 3 1",
      CRYPT,
    ]);
    const hmac = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
    expect(answers).toEqual([
      ...ANSWERS,
      "ok aes-cbc-qemu -",
      "ok 4",
      "ok 0",
      "ok 2",
      `ok - ${hmac.padEnd(128, "0")} -`,
      "error 14",
      "error 22",
      "ok",
      "error 22",
      "error 22",
    ]);
    const { code, output } = await machine.run("crypto-bench32 /dev/crypto 4096 300 4");
    expect([code, Number(output.split(" ")[0]) > 0]).toEqual([0, true]);
  });

  vmTest(
    "100,000 opens and sessions leave nothing in the kernel and nothing on the host",
    async () => {
      // What a leak would fill, in objects; SLUB's own counts are off by a few pages' worth.
      const objects = async () => {
        const { output } = await machine.run(
          "awk '/^kmalloc|^radix|^vcd_request/ { n += $2 } END { print n }' /proc/slabinfo",
        );
        return Number(output);
      };
      expect(await tool.calls(["churn /dev/crypto 1000"])).toEqual(["ok"]);
      const before = await objects();
      expect(await tool.calls(["churn /dev/crypto 100000"], 280_000)).toEqual(["ok"]);
      expect(before).toBeGreaterThan(1000);
      expect(await objects()).toBeLessThan(before + 5000);
      await nothingOpen(machine);
      expect((await machine.run(TROUBLE)).output).toBe("");
    },
  );

  vmTest("a key is in QEMU's memory while its session lasts, and nowhere afterwards", async () => {
    for (const [name, cipher, end] of [
      ["ended", "11", "end 3 1"],
      ["closed", "22", "close 3"],
    ] as const) {
      const key = Buffer.from(crypto.getRandomValues(new Uint8Array(32)));
      const session = `session 3 ${cipher} ${key.toString("hex")} 0 -`;
      const pipe = `/tmp/${name}`;
      await machine.run(`mkfifo ${pipe}; (cryptodev-tool < ${pipe} > ${pipe}.out &) ; exec 9> ${pipe}
        printf 'open /dev/crypto\\n${session}\\n' >&9; sleep 100 9>&9 & `);
      await until("the session", () => occurrences(machine.pid, key) > 0);
      await machine.run(`echo '${end}' > ${pipe}; sleep 1`);
      expect((await machine.run(`cat ${pipe}.out`)).output).toBe("ok 3\nok 1\nok\n");
      expect(occurrences(machine.pid, key)).toBe(0);
      await machine.run("killall sleep cryptodev-tool");
    }
  });

  vmTest("unloading is refused while a file is open, and safe otherwise", async () => {
    const { output } = await machine.run(`sleep 3 < /dev/crypto & sleep 0.3
      rmmod virtio_cryptodev; echo $?; wait; rmmod virtio_cryptodev; echo $?; ls /dev/crypto*
      insmod /modules/virtio_cryptodev.ko; echo $?`);
    expect(output).toMatch(/rmmod: .*temporarily unavailable\n1\n0\nls: .*No such file.*\n0\n$/);
    expect(await tool.calls(KNOWN)).toEqual(ANSWERS);
  });
});

/** How often bytes are in the memory of a QEMU process besides its guest's memory. */
function occurrences(pid: number, bytes: Buffer): number {
  const memory = openSync(`/proc/${pid}/mem`, "r");
  let found = 0;
  for (const line of readFileSync(`/proc/${pid}/maps`, "latin1").split("\n")) {
    const [, from = "0", to = "0", mode = ""] = line.match(/^(\w+)-(\w+) (\S+)/) ?? [];
    const [start, end] = [Number.parseInt(from, 16), Number.parseInt(to, 16)];
    // A guest's memory is one piece of hundreds of megabytes.
    if (!mode.startsWith("rw") || end - start >= 512 << 20) continue;
    const content = Buffer.alloc(end - start);
    try {
      readSync(memory, content, 0, content.length, start);
    } catch {
      // What isn't backed by memory can't hold a key.
      continue;
    }
    for (let at = content.indexOf(bytes); at >= 0; at = content.indexOf(bytes, at + 1)) found++;
  }
  closeSync(memory);
  return found;
}

describe("with devices that come and go", () => {
  const slot = (n: number) => ["-device", `pcie-root-port,id=slot${n},chassis=${n}`];
  const device = (n: number) => `virtio-cryptodev-pci,id=crypto${n},backend=builtin,bus=slot${n}`;

  vmTest("several are apart, and /dev/crypto is the first that there is", async () => {
    const machine = await Guest.boot({
      devices: [...slot(0), ...slot(1), "-device", device(0), "-device", device(1)],
    });
    const tool = new CryptoTool(machine);
    const nodes = async () => (await machine.run("echo /dev/crypto*")).output;
    expect(await nodes()).toBe("/dev/crypto /dev/cryptodev0 /dev/cryptodev1\n");
    expect(await tool.calls(["open /dev/cryptodev1", ...KNOWN.slice(1)])).toEqual(ANSWERS);
    expect([
      await statistic(machine, "operations", "crypto0"),
      await statistic(machine, "operations", "crypto1"),
    ]).toEqual([0, 1]);
    expect(await tool.calls(KNOWN)).toEqual(ANSWERS);
    expect(await statistic(machine, "operations", "crypto0")).toBe(1);
    await machine.qmp("device_del", { id: "crypto0" });
    for (let i = 0; i < 200 && (await nodes()).includes("cryptodev0"); i++) await Bun.sleep(50);
    expect(await nodes()).toBe("/dev/crypto /dev/cryptodev1\n");
    expect(await tool.calls(KNOWN)).toEqual(ANSWERS);
    expect(await statistic(machine, "operations", "crypto1")).toBe(2);
    await machine.stop();
  });

  vmTest("open files of one that goes away say ENODEV, and a new one works", async () => {
    const machine = await Guest.boot({ devices: [...slot(0), "-device", device(0)] });
    const tool = new CryptoTool(machine);
    const orphan = machine.run(
      `{ printf 'open /dev/crypto\\n${SESSION}\\n'; while [ -e /dev/crypto ]; do sleep 0.2; done
         printf '${CRYPT}\\n${SESSION}\\nend 3 1\\nclone 3\\nclose 3\\n'; } | cryptodev-tool`,
    );
    for (let i = 0; i < 100 && (await statistic(machine, "sessions")) < 1; i++) await Bun.sleep(50);
    await machine.qmp("device_del", { id: "crypto0" });
    expect((await orphan).output).toBe("ok 3\nok 1\nerror 19\nerror 19\nerror 19\nok 4\nok\n");
    await machine.qmp("device_add", {
      driver: "virtio-cryptodev-pci",
      id: "crypto0",
      backend: "builtin",
      bus: "slot0",
    });
    await machine.run("until [ -e /dev/crypto ]; do sleep 0.1; done");
    expect(await tool.calls(KNOWN)).toEqual(ANSWERS);
    // And taken from its driver in the middle of work: whoever waits is told.
    const { output } =
      await machine.run(`for i in 1 2 3 4; do crypto-bench /dev/crypto 65536 20000 4 & done
      sleep 1; device=$(basename $(readlink /sys/class/cryptodev/cryptodev0/device))
      cd /sys/bus/virtio/drivers/virtio_cryptodev; echo $device > unbind; wait; echo $device > bind`);
    expect(output.match(/: No such device/g)?.length).toBeGreaterThanOrEqual(4);
    expect(await tool.calls(KNOWN)).toEqual(ANSWERS);
    await nothingOpen(machine);
    expect((await machine.run(TROUBLE)).output).toBe("");
    await machine.stop();
  });

  vmTest("a machine that sleeps wakes with its devices; files of before say ENODEV", async () => {
    const machine = await Guest.boot({
      devices: [...slot(0), "-device", device(0)],
      // The clock that is taken otherwise, ACPI's, does not run on after QEMU's wake-up.
      append: "tsc=reliable",
    });
    const tool = new CryptoTool(machine);
    await machine.run(`mkfifo /tmp/calls; (cryptodev-tool < /tmp/calls > /tmp/answers &)
      exec 9> /tmp/calls; printf 'open /dev/crypto\\n${SESSION}\\n' >&9; sleep 300 9>&9 &`);
    for (let i = 0; i < 100 && (await statistic(machine, "sessions")) < 1; i++) await Bun.sleep(50);
    // Again and again, since a port that is not awake yet loses what it is sent.
    await machine.run(`(sleep 1; echo mem > /sys/power/state
      while :; do echo woken > /dev/ttyS0; sleep 1; done) &`);
    const status = async () => JSON.stringify(await machine.qmp("query-status"));
    for (let i = 0; i < 200 && !(await status()).includes("suspended"); i++) await Bun.sleep(50);
    expect(await status()).toContain("suspended");
    await machine.qmp("system_wakeup");
    await until("the machine to wake", () => machine.console.includes("woken"), 60_000);
    await until(
      "the agent",
      () => {
        return machine.run("echo awake", 3000).then(
          () => true,
          () => false,
        );
      },
      60_000,
    );
    await machine.run(`printf '${CRYPT}\\nclose 3\\n' > /tmp/calls; sleep 1`);
    expect((await machine.run("cat /tmp/answers")).output).toBe("ok 3\nok 1\nerror 19\nok\n");
    expect(await tool.calls(KNOWN)).toEqual(ANSWERS);
    await machine.run("killall sleep");
    await nothingOpen(machine);
    expect((await machine.run(TROUBLE)).output).toBe("");
    await machine.stop();
  });
});

describe("with a host that does not answer", () => {
  const withNode = noDevice === undefined ? vmTest : leftOut(noDevice);

  let node: CryptoDevice;

  // A node that is paused would hold up whoever looks at the folder that it is in.
  afterAll(async () => {
    await node?.stop();
  });

  withNode("callers can be killed, the machine goes on, and nothing stays open", async () => {
    node = await CryptoDevice.start(scratch, "hanging-node");
    const machine = await Guest.boot({
      devices: ["-device", `virtio-cryptodev-pci,id=crypto0,backend=cryptodev,path=${node.path}`],
    });
    await machine.run("(crypto-bench /dev/crypto 4096 100000 4 > /tmp/log 2>&1 &)");
    await until("work", () => (node.counts.encrypt ?? 0) > 20);
    node.pause();
    // Neither what is under way nor a new open gets an answer now.
    await machine.run("(echo open /dev/crypto | cryptodev-tool > /dev/null &)");
    const { output } = await machine.run(`sleep 1; killall -9 crypto-bench cryptodev-tool; sleep 1
      pidof crypto-bench cryptodev-tool || echo gone`);
    expect(output).toBe("gone\n");
    node.resume();
    await nothingOpen(machine);
    expect(await new CryptoTool(machine).calls(KNOWN)).toEqual(ANSWERS);
    // Those who are not killed give up by themselves.
    await machine.run("echo 2 > /sys/module/virtio_cryptodev/parameters/timeout");
    await machine.run(
      "(crypto-bench /dev/crypto 4096 100000 4 > /tmp/log 2>&1; echo over >> /tmp/log) &",
    );
    await until("work", () => (node.counts.encrypt ?? 0) > 40);
    node.pause();
    expect((await machine.run("sleep 5; cat /tmp/log")).output).toMatch(/timed out[\s\S]*over/);
    node.resume();
    await nothingOpen(machine);
    await machine.stop();
  });

  withNode("neither a reset nor an unplugging waits for it, nor does QEMU", async () => {
    const machine = await Guest.boot({
      devices: [
        ...["-device", "pcie-root-port,id=slot0,chassis=1"],
        "-device",
        `virtio-cryptodev-pci,id=crypto0,bus=slot0,backend=cryptodev,path=${node.path}`,
      ],
    });
    const before = node.counts.encrypt ?? 0;
    await machine.run("(crypto-bench /dev/crypto 4096 100000 4 > /tmp/log 2>&1 &)");
    await until("work", () => (node.counts.encrypt ?? 0) > before + 20);
    node.pause();
    await Bun.sleep(300);
    // The machine goes on only when the device has been reset.
    const { output } = await machine.run(
      `device=$(basename $(readlink /sys/class/cryptodev/cryptodev0/device))
       cd /sys/bus/virtio/drivers/virtio_cryptodev; echo $device > unbind; echo unbound
       echo $device > bind; ls /dev/crypto; sleep 1; cat /tmp/log`,
    );
    expect(output).toMatch(/^unbound\n\/dev\/crypto\n[\s\S]*No such device/);
    expect(await machine.qmp("query-status")).toMatchObject({ status: "running" });
    await machine.qmp("device_del", { id: "crypto0" });
    await until("the device to go", async () =>
      machine.qmp("qom-list", { path: "/machine/peripheral/crypto0" }).then(
        () => false,
        () => true,
      ),
    );
    expect((await machine.run("ls /dev/crypto* 2>&1; echo alive")).output).toMatch(/alive\n$/);
    node.resume();
    await Bun.sleep(1000);
    expect((await machine.run("echo alive")).output).toBe("alive\n");
    expect((await machine.run(TROUBLE)).output).toBe("");
    await machine.stop();
  });
});
