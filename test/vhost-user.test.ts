/**
 * virtio-cryptodevd: the device for QEMU as distributions ship it. Real guests in Debian's QEMU, on three
 * kernels; a front end that is hostile; and a daemon that is killed.
 */
import { afterAll, describe, expect } from "bun:test";
import { existsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { ROOT } from "../src/setup/build.ts";
import { CryptoDaemon } from "./support/crypto-daemon.ts";
import { CryptoTool } from "./support/crypto-tool.ts";
import { HostileRelay } from "./support/hostile-relay.ts";
import { CLIENT, RelayProcess, Scratch, until } from "./support/programs.ts";
import { vmTest } from "./support/vm.ts";
import {
  backportsKernel,
  CACHE,
  cryptoDaemonProgram,
  hostTool,
  type Kernel,
  newestKernel,
  run,
  stockKernel,
} from "./vm/assets.ts";
import { Guest } from "./vm/guest.ts";

const scratch = new Scratch();
afterAll(() => scratch.remove());

const KEY = "2b7e151628aed2a6abf7158809cf4f3c";
const IV = "000102030405060708090a0b0c0d0e0f";
const PLAIN = "6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e51";
const CIPHER = "7649abac8119b246cee98e9b12e9197d5086cb9b507219ee95db113a917678b2";
const SESSION = `session 3 11 ${KEY} 0 -`;
const CRYPT = `crypt 3 1 0 0 ${IV} ${PLAIN} c`;
const KNOWN = ["open /dev/crypto", SESSION, CRYPT];
const ANSWERS = ["ok 3", "ok 1", `ok ${CIPHER} - ${IV}`];
const TROUBLE = "dmesg | grep -E 'WARNING|BUG|Oops|leak|Call Trace'";
const GUEST_MS = 300_000;
/** A kernel or a QEMU may have to be fetched first. */
const FIRST_MS = 900_000;

async function nothingOpen(daemon: CryptoDaemon): Promise<void> {
  await until("everything to be closed", async () => {
    const metrics = await daemon.metrics();
    return ["files", "sessions"].every((name) => metrics.get(`virtio_cryptodevd_${name}`) === 0);
  });
}

describe("its command line", () => {
  const CASES: [string[], number, RegExp][] = [
    [[], 64, /--socket/],
    [["--socket", "S", "--backend", "bogus"], 64, /backend.*auto.*libcrypto/],
    [["--socket", "S", "--max-files", "0"], 64, /max-files/],
    [["--socket", "S", "--max-bytes", "2M"], 64, /max-bytes/],
    [["--socket", "S", "--num-queues", "65"], 64, /num-queues/],
    [["--socket", "S", "--max-threads", "many"], 64, /max-threads/],
    [["--socket", "S", "--bogus"], 64, /bogus/],
    [["--socket", "S", "--backend", "cryptodev", "--path", "/etc/passwd"], 69, /\/etc\/passwd/],
    [["--socket", "/no/such/folder/socket"], 73, /\/no\/such\/folder/],
  ];
  for (const [words, code, message] of CASES) {
    vmTest(`${words.join(" ") || "nothing"}: exit code ${code}, and what is wrong`, async () => {
      const socket = join(scratch.path, "refused.sock");
      const command = [
        cryptoDaemonProgram(),
        ...words.map((word) => (word === "S" ? socket : word)),
      ];
      const { exitCode, stderr } = Bun.spawnSync(command);
      expect(exitCode).toBe(code);
      expect(stderr.toString()).toMatch(message);
      expect(existsSync(socket)).toBe(false);
    });
  }

  vmTest("--help has examples; auto says what it took and why; TERM ends it with 0", async () => {
    expect(run([cryptoDaemonProgram(), "--help"])).toContain("vhost-user-test-device-pci");
    const daemon = await CryptoDaemon.start(scratch, { flags: ["--path", "/no/such/node"] });
    expect(daemon.log).toMatch(/backend libcrypto.*\/no\/such\/node.*No such file/);
    expect(await daemon.stop()).toBe(0);
    expect(existsSync(daemon.socket)).toBe(false);
  });

  vmTest("its unit is one that systemd takes, and is installed where it belongs", async () => {
    const root = join(scratch.path, "installed");
    cryptoDaemonProgram();
    const make = ["make", "-s", "-C", join(ROOT, "qemu-patch"), `CACHE=${CACHE}`];
    run([...make, "install-vhost-user", `DESTDIR=${root}`, "PREFIX=/usr"]);
    const unit = join(root, "usr/lib/systemd/system/virtio-cryptodevd@.service");
    // With the program where it has been put, since it is verified that it is there.
    const text = (await Bun.file(unit).text()).replaceAll(
      "ExecStart=/usr",
      `ExecStart=${root}/usr`,
    );
    const verified = join(scratch.path, "virtio-cryptodevd@guest.service");
    writeFileSync(verified, text);
    const { exitCode, stderr } = Bun.spawnSync(["systemd-analyze", "verify", verified]);
    expect([exitCode, stderr.toString()]).toEqual([0, ""]);
    run([...make, "uninstall-vhost-user", `DESTDIR=${root}`, "PREFIX=/usr"]);
    expect(existsSync(join(root, "usr/bin/virtio-cryptodevd"))).toBe(false);
  });
});

describe("docs/vm.md", () => {
  vmTest("has libvirt XML that libvirt's schema and parser take", async () => {
    const text = await Bun.file(join(ROOT, "docs/vm.md")).text();
    const [, xml = ""] = text.match(/```xml\n([\s\S]*?)```/) ?? [];
    expect(xml).toContain("vhost-user-test-device-pci");
    const path = join(scratch.path, "domain.xml");
    const rest = `<name>myguest</name><memory unit='GiB'>2</memory>
      <os><type arch='x86_64' machine='q35'>hvm</type></os>`;
    writeFileSync(path, xml.replace("<!-- ... -->", rest));
    run(["virt-xml-validate", path, "domain"]);
    // The test driver parses it as any driver does; it runs nothing.
    const test = xml.replace("<!-- ... -->", rest).replace("type='kvm'", "type='test'");
    writeFileSync(path, test.replace("machine='q35'", ""));
    expect(run(["virsh", "-c", "test:///default", "define", path])).toContain("defined");
  });
});

describe("a front end", () => {
  const sanitized = () => {
    const out = join(CACHE, "vhost-user-asan");
    run([...["make", "-s", "-C", join(ROOT, "qemu-patch"), `CACHE=${CACHE}`], "vhost-user-tools"]);
    return {
      program: join(out, "virtio-cryptodevd"),
      frontEnd: join(CACHE, "vhost-user/front-end"),
    };
  };

  vmTest(
    "that is hostile in 20,000 ways leaves the daemon alive, under ASan and UBSan",
    async () => {
      const { program, frontEnd } = sanitized();
      const daemon = await CryptoDaemon.start(scratch, {
        program,
        queues: 2,
        // The sanitizers look at /proc and map memory when they have something to say.
        flags: ["--no-sandbox", "--backend", "libcrypto"],
        env: { ASAN_OPTIONS: "detect_leaks=0" },
      });
      const count = process.env.VHOST_USER_INPUTS ?? "20000";
      const seed = String(Math.floor(Math.random() * 2 ** 31));
      const fuzz = Bun.spawn([frontEnd, daemon.socket, "fuzz", seed, count], {
        stdio: ["ignore", "pipe", "pipe"],
      });
      const output = (
        await Promise.all([new Response(fuzz.stdout).text(), new Response(fuzz.stderr).text()])
      ).join("\n");
      const what = `seed ${seed}: ${output}\n${daemon.log.slice(-3000)}`;
      expect([await fuzz.exited, what]).toEqual([0, what]);
      expect(daemon.log).not.toMatch(/ERROR: |runtime error/);
      run([frontEnd, daemon.socket, "known"]);
      expect(await daemon.stop()).toBe(0);
    },
    FIRST_MS,
  );

  vmTest("may pause: files are kept; and reset: they are not", async () => {
    const { frontEnd } = sanitized();
    const daemon = await CryptoDaemon.start(scratch, { flags: ["--backend", "libcrypto"] });
    run([frontEnd, daemon.socket, "known"]);
    run([frontEnd, daemon.socket, "pause"]);
    await nothingOpen(daemon);
    await daemon.stop();
  });
});

describe("in Debian's QEMU", () => {
  const KERNELS: [string, () => Kernel][] = [
    ["6.1.", stockKernel],
    ["6.12.", backportsKernel],
    ["7.3.", newestKernel],
  ];
  for (const [version, kernel] of KERNELS) {
    vmTest(
      `Linux ${version} finds the device, gets known answers, and leaves nothing open`,
      async () => {
        const daemon = await CryptoDaemon.start(scratch, { flags: ["--backend", "libcrypto"] });
        const guest = await Guest.boot({ kernel: kernel(), ...daemon.guest });
        expect((await guest.run("uname -r")).output).toStartWith(version);
        const answers = await new CryptoTool(guest).calls([
          ...KNOWN,
          "info 3 1",
          "zeros 3 1 1048576",
          "session 3 0 - 18 4a656665",
          "crypt 3 2 0 0 - 7768617420646f2079612077616e7420666f72206e6f7468696e673f m",
          "churn /dev/crypto 500",
          "stress /dev/crypto 5 4 4",
        ]);
        expect(answers.slice(0, 6)).toEqual([...ANSWERS, "ok aes-cbc-openssl -", "ok", "ok 2"]);
        expect(answers[6]).toStartWith(
          "ok - 5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
        );
        expect(answers[7]).toBe("ok");
        expect(answers[8]).toMatch(/^ok \d\d+$/);
        await nothingOpen(daemon);
        expect((await guest.run(TROUBLE)).output).toBe("");
        await guest.stop();
        await daemon.stop();
      },
      FIRST_MS,
    );
  }

  vmTest("several queues serve a program's files side by side", async () => {
    const daemon = await CryptoDaemon.start(scratch, {
      queues: 2,
      flags: ["--backend", "libcrypto"],
    });
    const guest = await Guest.boot(daemon.guest);
    const answers = await new CryptoTool(guest).calls([...KNOWN, "stress /dev/crypto 5 4 4"]);
    expect(answers.slice(0, 3)).toEqual(ANSWERS);
    expect(answers[3]).toMatch(/^ok \d{3,}$/);
    const states = await daemon.metrics();
    expect(states.get('virtio_cryptodevd_queues{state="running"}')).toBe(2);
    await nothingOpen(daemon);
    await guest.stop();
    await daemon.stop();
  });

  vmTest(
    "a machine that is paused goes on with its files; one that is reset has none",
    async () => {
      const daemon = await CryptoDaemon.start(scratch, { flags: ["--backend", "libcrypto"] });
      const guest = await Guest.boot(daemon.guest);
      await guest.run(`mkfifo /tmp/calls; (cryptodev-tool < /tmp/calls > /tmp/answers &)
      exec 9> /tmp/calls; printf 'open /dev/crypto\\n${SESSION}\\n' >&9; sleep 300 9>&9 &`);
      const sessions = async () => (await daemon.metrics()).get("virtio_cryptodevd_sessions");
      await until("a session", async () => (await sessions()) === 1);
      await guest.qmp("stop");
      await Bun.sleep(300);
      expect(await sessions()).toBe(1);
      await guest.qmp("cont");
      await guest.run(`printf '${CRYPT}\\n' > /tmp/calls; sleep 0.5`);
      expect((await guest.run("tail -n 1 /tmp/answers")).output).toBe(`${ANSWERS[2]}\n`);
      await guest.run(`device=$(basename $(readlink /sys/class/cryptodev/cryptodev0/device))
      cd /sys/bus/virtio/drivers/virtio_cryptodev; echo $device > unbind; echo $device > bind`);
      await nothingOpen(daemon);
      expect(await new CryptoTool(guest).calls(KNOWN)).toEqual(ANSWERS);
      await guest.stop();
      await daemon.stop();
    },
  );

  vmTest(
    "two guests chat, each through its daemon; the relay sees no plaintext",
    async () => {
      const key = scratch.key("vhost-user.key");
      const relay = await RelayProcess.start();
      const tap = new HostileRelay(relay.port);
      const programs = { "bin/chat-client": CLIENT, "room.key": key };
      const daemons = await Promise.all(
        ["a", "b"].map((id) =>
          CryptoDaemon.start(scratch, { id, flags: ["--backend", "libcrypto"] }),
        ),
      );
      const guests = await Promise.all(
        daemons.map((daemon) => Guest.boot({ ...daemon.guest, programs })),
      );
      const talk = (nick: string, text: string) => `chmod 600 /room.key
        { sleep 8; echo '${text}'; sleep 10; } | chat-client 10.0.2.2:${tap.port} --key-file /room.key \\
          --nick ${nick} --crypto /dev/crypto --history 100`;
      const [ann, bob] = await Promise.all([
        guests[0]?.run(talk("ann", "hello-from-the-first-guest"), 120_000),
        guests[1]?.run(talk("bob", "hello-from-the-second-guest"), 120_000),
      ]);
      expect([ann?.code, bob?.code]).toEqual([0, 0]);
      expect(ann?.output).toContain("bob: hello-from-the-second-guest");
      expect(bob?.output).toContain("ann: hello-from-the-first-guest");
      expect(ann?.output).toContain("aes-cbc-openssl, hmac-sha512-openssl");
      expect(Buffer.concat(tap.capture).includes("hello-from")).toBe(false);
      for (const daemon of daemons) {
        const name = 'virtio_cryptodevd_algorithm_operations_total{algorithm="aes-cbc"}';
        expect((await daemon.metrics()).get(name)).toBeGreaterThanOrEqual(6);
      }
      for (const guest of guests) await guest.stop();
      for (const daemon of daemons) await daemon.stop();
      tap.stop();
      await relay.stop();
    },
    GUEST_MS,
  );

  vmTest(
    "what is unplugged in the middle of work says ENODEV, and QEMU and daemon go on",
    async () => {
      const daemon = await CryptoDaemon.start(scratch, { flags: ["--backend", "libcrypto"] });
      const [chardevOption = "", chardev = "", deviceOption = "", device = ""] = daemon.devices;
      const guest = await Guest.boot({
        ...daemon.guest,
        devices: [
          ...["-device", "pcie-root-port,id=slot0,chassis=1"],
          ...[chardevOption, chardev, deviceOption, `${device},bus=slot0`],
        ],
      });
      const work = guest.run("crypto-bench /dev/crypto 65536 20000 4");
      await until("work", async () => {
        return ((await daemon.metrics()).get("virtio_cryptodevd_operations_total") ?? 0) > 20;
      });
      await guest.qmp("device_del", { id: daemon.id });
      expect((await work).output).toMatch(/No such device/);
      // QEMU stops a ring alike for a pause and for good; that the connection ends tells which it was.
      await until("the device to be gone", () =>
        guest.qmp("chardev-remove", { id: `${daemon.id}-socket` }).then(
          () => true,
          () => false,
        ),
      );
      await nothingOpen(daemon);
      expect((await guest.run(TROUBLE)).output).toBe("");
      await guest.stop();
      await daemon.stop();
    },
  );
});

describe("a daemon that is killed", () => {
  /** Threads that work until they fail, and then begin anew. */
  const WORKERS = `for i in 1 2 3 4; do (while [ ! -e /tmp/enough ]; do
    crypto-bench /dev/crypto 4096 3000 2 >> /tmp/log 2>&1; done &) ; done`;

  vmTest(
    "and restarted by its manager serves on; callers get errors or right answers",
    async () => {
      const manager = hostTool("service-manager");
      const daemon = await CryptoDaemon.start(scratch, {
        under: manager,
        flags: ["--backend", "libcrypto"],
      });
      const guest = await Guest.boot(daemon.guest);
      const tool = new CryptoTool(guest);
      await guest.run(WORKERS);
      const checked = tool.calls(["stress /dev/crypto 25 2 2 lossy"], 120_000);
      for (let i = 0; i < 10; i++) {
        await Bun.sleep(2000);
        const before = daemon.managedPid;
        process.kill(before, "SIGKILL");
        await until("the next one", () => daemon.managedPid !== before, 10_000);
      }
      // Wrong bytes would be "wrong N".
      expect((await checked)[0]).toMatch(/^ok \d{3,}$/);
      await guest.run("touch /tmp/enough; sleep 4");
      expect((await guest.run("cat /tmp/log")).output).toMatch(/No such device/);
      await until(
        "the device",
        async () => (await tool.calls(KNOWN)).join() === ANSWERS.join(),
        30_000,
      );
      await nothingOpen(daemon);
      expect((await guest.run(TROUBLE)).output).toBe("");
      expect((await guest.run("dmesg")).output).toContain("was started anew");
      await guest.stop();
      await daemon.stop();
    },
  );

  vmTest("for good: callers give up in time, and a new device can be plugged in", async () => {
    const daemon = await CryptoDaemon.start(scratch, { flags: ["--backend", "libcrypto"] });
    const [chardevOption = "", chardev = "", deviceOption = "", device = ""] = daemon.devices;
    const guest = await Guest.boot({
      ...daemon.guest,
      devices: [
        ...["-device", "pcie-root-port,id=slot0,chassis=1"],
        ...[chardevOption, chardev, deviceOption, `${device},bus=slot0`],
      ],
    });
    await guest.run("echo 3 > /sys/module/virtio_cryptodev/parameters/timeout");
    const work = guest.run("crypto-bench /dev/crypto 4096 60000 4; echo over");
    await Bun.sleep(1000);
    await daemon.kill("SIGKILL");
    expect((await work).output).toMatch(/timed out[\s\S]*over\n$/);
    expect((await guest.run("echo alive")).output).toBe("alive\n");
    await guest.qmp("device_del", { id: daemon.id });
    await until("the node to go", async () => {
      return !(await guest.run("echo /dev/crypto*")).output.includes("cryptodev0");
    });
    await daemon.restart();
    const id = `${daemon.id}-new`;
    await guest.qmp("chardev-add", {
      id,
      backend: {
        type: "socket",
        data: { addr: { type: "unix", data: { path: daemon.socket } }, server: false },
      },
    });
    await guest.qmp("device_add", {
      driver: "vhost-user-test-device-pci",
      id,
      chardev: id,
      "virtio-id": 38,
      num_vqs: 1,
      vq_size: 1024,
      config_size: 32,
      bus: "slot0",
    });
    await guest.run("until [ -e /dev/crypto ]; do sleep 0.1; done");
    expect(await new CryptoTool(guest).calls(KNOWN)).toEqual(ANSWERS);
    await guest.stop();
    await daemon.stop();
  });
});
