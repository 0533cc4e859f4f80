/**
 * A virtual machine that runs commands for a test: Debian's kernel, an initramfs of busybox and what
 * the test needs, our QEMU, and an agent on a second serial port.
 */
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Socket, Subprocess } from "bun";
import { ROOT } from "../../src/setup/build.ts";
import { busybox, type Emulator, guestTool, type Kernel, qemu, stockKernel } from "./assets.ts";
import { Initramfs } from "./initramfs.ts";

export interface GuestOptions {
  readonly kernel?: Kernel;
  /** Ours where it is not given. */
  readonly emulator?: Emulator;
  /** Whether other processes can be given the guest's memory, as vhost-user devices are. */
  readonly sharedMemory?: boolean;
  /** Whether our driver is left out. */
  readonly withoutDriver?: boolean;
  /** Arguments of QEMU besides the machine itself. */
  readonly devices?: readonly string[];
  /** Further words of the kernel's command line. */
  readonly append?: string;
  /** Modules that are loaded before our driver: paths in the kernel's folder, without ".ko". */
  readonly modules?: readonly string[];
  /** Programs of the host to copy: path in the guest by path on the host. */
  readonly programs?: Readonly<Record<string, string>>;
  /** MiB. */
  readonly memory?: number;
  readonly cpus?: number;
}

export interface Result {
  readonly code: number;
  readonly output: string;
}

/** Modules of the stock kernel that a guest loads, in this order. */
const MODULES = [
  "drivers/virtio/virtio_ring",
  "drivers/virtio/virtio",
  "drivers/virtio/virtio_pci_modern_dev",
  "drivers/virtio/virtio_pci_legacy_dev",
  "drivers/virtio/virtio_pci",
  "net/core/failover",
  "drivers/net/net_failover",
  "drivers/net/virtio_net",
];

const GLIBC = ["libc.so.6", "libm.so.6", "libpthread.so.0", "libdl.so.2"];

/** What process 1 does first, whatever the guest is for. */
const SETUP = `#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin HOME=/root
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
for module in $(cat /modules/order); do insmod /modules/$module.ko; done
ip link set lo up
if [ -e /sys/class/net/eth0 ]; then
  ip addr add 10.0.2.15/24 dev eth0; ip link set eth0 up; ip route add default via 10.0.2.2
fi
`;

/** Then it takes commands from the second serial port. */
const AGENT = `
stty -F /dev/ttyS1 raw -echo 115200
exec 3<>/dev/ttyS1
echo ready >&3
while read -r id encoded <&3; do
  [ "$id" = off ] && break
  echo "$encoded" | base64 -d > /tmp/command
  sh /tmp/command > /tmp/output 2>&1 < /dev/null 3>&-
  code=$?
  { echo "begin $id $code"; base64 /tmp/output; echo "end $id"; } >&3
done
poweroff -f
`;

/** The chat client, to be copied into a guest. */
export const CLIENT_PROGRAMS = { "bin/chat-client": join(ROOT, "chat-client") };

/** The command that starts a machine, without its serial ports. */
export function machine(kernel: Kernel, initrd: string, options: GuestOptions): string[] {
  const { command, firmware } = options.emulator ?? qemu();
  const memory = String(options.memory ?? 1024);
  const shared = ["-object", `memory-backend-memfd,id=memory,size=${memory}M,share=on`];
  return [
    ...command,
    ...["-M", options.sharedMemory ? "q35,memory-backend=memory" : "q35"],
    ...(options.sharedMemory ? shared : []),
    ...["-accel", "tcg,thread=multi"],
    // TCG runs string instructions byte by byte: without these two the kernel copies by words.
    ...["-cpu", "max,erms=off,fsrm=off"],
    ...["-smp", String(options.cpus ?? 2), "-m", memory],
    ...["-nodefaults", "-nographic", "-no-reboot"],
    ...firmware.flatMap((path) => ["-L", path]),
    ...["-kernel", kernel.image, "-initrd", initrd],
    ...["-append", `console=ttyS0 quiet panic=-1 ${options.append ?? ""}`],
    ...["-netdev", "user,id=net"],
    ...["-device", "virtio-net-pci,netdev=net,disable-legacy=on,romfile="],
    ...(options.devices ?? []),
  ];
}

/** How long a guest may take to boot, in milliseconds. */
const BOOT_MS = 120_000;

/** Those that run, so that none outlives a test that failed. */
const running = new Set<Subprocess>();
process.on("exit", () => {
  for (const machine of running) machine.kill("SIGKILL");
});

export class Guest {
  readonly #folder: string;
  readonly #process: Subprocess;
  #console = "";
  #agent: Socket | undefined;
  #received = "";
  #wake: (() => void) | undefined;
  #nextId = 1;

  private constructor(folder: string, command: string[]) {
    this.#folder = folder;
    this.#process = Bun.spawn(command, { stdio: ["ignore", "pipe", "pipe"] });
    running.add(this.#process);
    void this.#process.exited.then(() => running.delete(this.#process));
    void this.#collect(this.#process.stdout as ReadableStream<Uint8Array>);
    void this.#collect(this.#process.stderr as ReadableStream<Uint8Array>);
  }

  async #collect(stream: ReadableStream<Uint8Array>): Promise<void> {
    const decoder = new TextDecoder();
    for await (const chunk of stream) this.#console += decoder.decode(chunk, { stream: true });
  }

  /** Boots a machine and waits for its agent. Throws with the console's text when it does not come. */
  static async boot(options: GuestOptions = {}): Promise<Guest> {
    const kernel = options.kernel ?? stockKernel();
    const folder = mkdtempSync(join(tmpdir(), "chat-vm-"));
    const initrd = join(folder, "initrd");
    writeFileSync(initrd, initramfs(kernel, AGENT, options));
    const guest = new Guest(folder, [
      ...machine(kernel, initrd, options),
      ...["-serial", "stdio"],
      // It begins when somebody listens: what the agent says to nobody is lost.
      ...["-chardev", `socket,id=agent,path=${folder}/agent,server=on,wait=on`],
      ...["-serial", "chardev:agent"],
      ...["-qmp", `unix:${folder}/qmp,server=on,wait=off`],
    ]);
    try {
      await guest.#connect();
      await guest.#until("the guest to boot", () => guest.#received.includes("ready\n"), BOOT_MS);
    } catch (error) {
      await guest.stop();
      throw error;
    }
    return guest;
  }

  /** QEMU's process. */
  get pid(): number {
    return this.#process.pid;
  }

  /** All that the guest's kernel printed, and QEMU. */
  get console(): string {
    return this.#console;
  }

  async #connect(): Promise<void> {
    const deadline = performance.now() + 10_000;
    for (;;) {
      try {
        this.#agent = await Bun.connect({
          unix: join(this.#folder, "agent"),
          socket: {
            data: (_, chunk) => {
              this.#received += chunk.toString("latin1");
              this.#wake?.();
            },
            error: () => undefined,
          },
        });
        return;
      } catch (error) {
        if (this.#process.exitCode !== null || performance.now() > deadline) {
          throw new Error(`QEMU does not run: ${error}\n${this.#console}`);
        }
        await Bun.sleep(50);
      }
    }
  }

  async #until(what: string, done: () => boolean, milliseconds: number): Promise<void> {
    const deadline = performance.now() + milliseconds;
    while (!done()) {
      if (performance.now() > deadline || this.#process.exitCode !== null) {
        throw new Error(`in vain waited for ${what}; the console:\n${this.#console}`);
      }
      const news = new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
      await Promise.race([news, Bun.sleep(100)]);
    }
  }

  /** Runs a shell script in the guest: its exit code and all that it printed. */
  async run(script: string, milliseconds = 60_000): Promise<Result> {
    const id = this.#nextId++;
    this.#received = "";
    const line = Buffer.from(`${id} ${Buffer.from(script).toString("base64")}\n`);
    // The serial port takes little at once; the agent reads as it comes.
    let at = 0;
    while (at < line.length) {
      const taken = this.#agent?.write(line, at, line.length - at) ?? -1;
      if (taken < 0) throw new Error(`the guest is gone; the console:\n${this.#console}`);
      at += taken;
      if (at < line.length) await Bun.sleep(1);
    }
    const end = `end ${id}\n`;
    await this.#until(
      `"${script.slice(0, 60)}" to end`,
      () => this.#received.includes(end),
      milliseconds,
    );
    const match = this.#received.match(new RegExp(`begin ${id} (\\d+)\\n([^]*?)end ${id}\\n`));
    const output = Buffer.from((match?.[2] ?? "").replaceAll("\n", ""), "base64").toString();
    return { code: Number(match?.[1]), output };
  }

  /** Asks QEMU something over QMP: what it returns. */
  async qmp(execute: string, args: Record<string, unknown> = {}): Promise<unknown> {
    const answers: string[] = [];
    let rest = "";
    const socket = await Bun.connect({
      unix: join(this.#folder, "qmp"),
      socket: {
        data: (_, chunk) => {
          const lines = (rest + chunk.toString()).split("\n");
          rest = lines.pop() ?? "";
          answers.push(...lines);
        },
      },
    });
    const ask = async (request: object) => {
      const before = answers.length;
      socket.write(`${JSON.stringify(request)}\n`);
      for (let i = 0; i < 2000; i++) {
        const answer = answers
          .slice(before)
          .map((line) => JSON.parse(line) as Record<string, unknown>)
          .find((object) => "return" in object || "error" in object);
        if (answer !== undefined) {
          if ("error" in answer) throw new Error(JSON.stringify(answer.error));
          return answer.return;
        }
        await Bun.sleep(5);
      }
      throw new Error(`QMP does not answer ${execute}`);
    };
    try {
      await ask({ execute: "qmp_capabilities" });
      return await ask({ execute, arguments: args });
    } finally {
      // QEMU listens to one at a time.
      socket.end();
    }
  }

  /** Switches the machine off; whatever it printed stays readable. */
  async stop(): Promise<void> {
    this.#process.kill();
    await this.#process.exited;
    this.#agent?.end();
    rmSync(this.#folder, { recursive: true, force: true });
  }
}

/** The guest's files; `then` is what its process 1 does once all is set up. */
export function initramfs(
  kernel: Kernel,
  then: string,
  {
    programs = {},
    modules = [],
    withoutDriver = false,
  }: Pick<GuestOptions, "programs" | "modules" | "withoutDriver"> = {},
): Uint8Array {
  const fs = new Initramfs();
  for (const folder of ["proc", "sys", "dev", "tmp", "root", "etc"]) fs.folder(folder);
  fs.copy(busybox(), "bin/busybox").program("init", SETUP + then);
  for (const tool of ["cryptodev-tool", "crypto-bench"]) fs.copy(guestTool(tool), `bin/${tool}`);
  const order: string[] = [];
  for (const path of [...MODULES, ...modules]) {
    const content = module(join(kernel.modules, `${path}.ko`));
    // What is no module in this kernel is built in.
    if (content === undefined) continue;
    const name = path.split("/").at(-1) ?? path;
    order.push(name);
    fs.file(`modules/${name}.ko`, content);
  }
  if (!withoutDriver) {
    order.push("virtio_cryptodev");
    fs.file("modules/virtio_cryptodev.ko", readFileSync(kernel.driver));
  }
  fs.file("modules/order", `${order.join("\n")}\n`);
  if (Object.keys(programs).length > 0) {
    for (const library of GLIBC)
      fs.copy(`/lib/x86_64-linux-gnu/${library}`, `lib/x86_64-linux-gnu/${library}`);
    fs.copy("/lib64/ld-linux-x86-64.so.2", "lib64/ld-linux-x86-64.so.2");
  }
  for (const [to, from] of Object.entries(programs)) fs.copy(from, to);
  return fs.bytes();
}

/** A module's bytes, unpacked if it is compressed; undefined where there is none. */
function module(path: string): Uint8Array | undefined {
  if (existsSync(path)) return readFileSync(path);
  if (!existsSync(`${path}.xz`)) return undefined;
  return Bun.spawnSync(["xz", "-dc", `${path}.xz`]).stdout;
}
