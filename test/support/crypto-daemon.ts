/** virtio-cryptodevd, the device as a daemon, and how a guest in a stock QEMU is given it. */
import { rmSync } from "node:fs";
import { join } from "node:path";
import { cryptoDaemonProgram, lyingDaemonProgram, stockQemu } from "../vm/assets.ts";
import type { GuestOptions } from "../vm/guest.ts";
import { Program, type Scratch } from "./programs.ts";

export interface DaemonOptions {
  /** Further flags, such as ["--backend", "libcrypto"]. */
  readonly flags?: readonly string[];
  readonly queues?: number;
  /** The device's name in QEMU. */
  readonly id?: string;
  readonly env?: Readonly<Record<string, string>>;
  /** Another build of it than the usual one. */
  readonly program?: string;
  /** What it lies about, a mode of qemu-patch/vhost-user/lie.c, and where its randomness starts. */
  readonly lie?: string;
  readonly seed?: number;
  /** A program that it is started by, and that starts it again: test/fixtures/service-manager.c. */
  readonly under?: string;
}

/** How long it may take to start, in milliseconds. */
const START_MS = 10_000;

export class CryptoDaemon {
  readonly id: string;
  readonly socket: string;
  readonly metricsSocket: string;
  readonly #command: string[];
  readonly #env: Record<string, string>;
  readonly #queues: number;
  #process: Program;
  #earlier = "";

  private constructor(scratch: Scratch, options: DaemonOptions) {
    const { flags = [], queues = 1, id = "crypto0", env = {}, under, lie, seed = 1 } = options;
    const path = join(scratch.path, `${id}-${crypto.randomUUID().slice(0, 8)}`);
    this.id = id;
    this.socket = `${path}.sock`;
    this.metricsSocket = `${path}.metrics`;
    this.#queues = queues;
    this.#env = { ...env };
    this.#command = [
      ...(under === undefined ? [] : [under]),
      options.program ?? (lie === undefined ? cryptoDaemonProgram() : lyingDaemonProgram()),
      ...(lie === undefined ? [] : ["--lie", lie, "--seed", String(seed)]),
      ...["--socket", this.socket],
      ...["--metrics-socket", this.metricsSocket, "--num-queues", String(queues), ...flags],
    ];
    this.#process = this.#spawn();
  }

  /** Builds it where that is needed, starts it and waits until it listens. */
  static async start(scratch: Scratch, options: DaemonOptions = {}): Promise<CryptoDaemon> {
    const daemon = new CryptoDaemon(scratch, options);
    await daemon.#ready();
    return daemon;
  }

  #spawn(): Program {
    rmSync(this.metricsSocket, { force: true });
    return new Program(this.#command, this.#env);
  }

  /** Its socket would take whoever looks whether it is there for QEMU: the other one is asked. */
  async #ready(): Promise<void> {
    const deadline = performance.now() + START_MS;
    while (!(await this.isHealthy())) {
      if (this.#process.process.exitCode !== null || performance.now() > deadline) {
        throw new Error(`virtio-cryptodevd does not start:\n${this.log}`);
      }
      await Bun.sleep(10);
    }
  }

  /** What makes the device one of a guest's: Guest.boot({ ...daemon.guest }). */
  get guest(): Required<Pick<GuestOptions, "emulator" | "sharedMemory" | "devices">> {
    return { emulator: stockQemu(), sharedMemory: true, devices: this.devices };
  }

  /** QEMU's arguments for the device. The guest's memory must be shared. */
  get devices(): readonly string[] {
    const device = [
      ...["vhost-user-test-device-pci", `id=${this.id}`, `chardev=${this.id}-socket`],
      ...["virtio-id=38", `num_vqs=${this.#queues}`, "vq_size=1024", "config_size=32"],
    ];
    const chardev = `socket,id=${this.id}-socket,path=${this.socket}`;
    return ["-chardev", chardev, "-device", device.join(",")];
  }

  get pid(): number {
    return this.#process.process.pid;
  }

  /** Its process where it runs under a service manager, which tells each that it starts. */
  get managedPid(): number {
    return Number([...this.#process.stdout.matchAll(/^started (\d+)$/gm)].at(-1)?.[1]);
  }

  /** All that it has printed, also before it was restarted. */
  get log(): string {
    return this.#earlier + this.#process.stdout + this.#process.stderr;
  }

  async #get(path: string): Promise<Response> {
    const signal = AbortSignal.timeout(START_MS);
    return await fetch(`http://localhost${path}`, { unix: this.metricsSocket, signal });
  }

  async isHealthy(): Promise<boolean> {
    try {
      return (await this.#get("/healthz")).ok;
    } catch {
      return false;
    }
  }

  /** Its metrics by name, with their labels as they are printed. */
  async metrics(): Promise<ReadonlyMap<string, number>> {
    const text = await (await this.#get("/metrics")).text();
    const lines = text.split("\n").filter((line) => line !== "" && !line.startsWith("#"));
    return new Map(
      lines.map((line) => {
        const at = line.lastIndexOf(" ");
        return [line.slice(0, at), Number(line.slice(at + 1))];
      }),
    );
  }

  /** Ends it with a signal. @returns its exit code; all that it printed is there then */
  async kill(signal: NodeJS.Signals = "SIGKILL"): Promise<number> {
    this.#process.kill(signal);
    return await this.#process.exited();
  }

  /** Ends it, where it has not ended, and starts it as it was started before. */
  async restart(signal: NodeJS.Signals = "SIGKILL"): Promise<void> {
    await this.kill(signal);
    this.#earlier = this.log;
    this.#process = this.#spawn();
    await this.#ready();
  }

  /** Ends it as a service manager does. @returns its exit code */
  async stop(): Promise<number> {
    return await this.kill("SIGTERM");
  }
}
