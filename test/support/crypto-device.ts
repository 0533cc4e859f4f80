/** A crypto device for a test: the real kernel's open and ioctl, with the fixture behind them. */
import {
  existsSync,
  mkdirSync,
  readFileSync,
  symlinkSync,
  unlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { ROOT } from "../../src/setup/build.ts";
import { Program, type Scratch, until } from "./programs.ts";

/** Why no device can be made here, or undefined where it can. */
export const noDevice =
  process.getuid?.() !== 0
    ? "needs root, to mount FUSE"
    : existsSync("/dev/fuse")
      ? undefined
      : "needs /dev/fuse";

export class CryptoDevice {
  readonly path: string;
  readonly #mount: string;
  readonly #log: string;
  readonly #server: Program;

  private constructor(scratch: Scratch, name: string, faults: string[]) {
    this.#mount = join(scratch.path, name);
    this.#log = join(scratch.path, `${name}.log`);
    this.path = join(this.#mount, "crypto");
    mkdirSync(this.#mount);
    writeFileSync(this.#log, "");
    const fixture = join(ROOT, "test/fixtures/cryptodev-fuse.ts");
    this.#server = new Program([process.execPath, fixture, this.#mount, this.#log, ...faults]);
  }

  static async start(scratch: Scratch, name: string, ...faults: string[]): Promise<CryptoDevice> {
    const device = new CryptoDevice(scratch, name, faults);
    await until("the device", () => device.#server.stdout.includes("mounted"));
    return device;
  }

  /** How often the device did each thing. */
  get counts(): Record<string, number> {
    const counts: Record<string, number> = { session: 0, end: 0, encrypt: 0, decrypt: 0, mac: 0 };
    for (const line of readFileSync(this.#log, "utf8").trim().split("\n")) {
      counts[line] = (counts[line] ?? 0) + 1;
    }
    return counts;
  }

  /** Takes the device away from under whoever has it open. */
  async unplug(): Promise<void> {
    this.#server.kill("SIGKILL");
    await this.#server.exited();
  }

  /** From now on nobody gets an answer, until `resume`. */
  pause(): void {
    this.#server.kill("SIGSTOP");
  }

  resume(): void {
    this.#server.kill("SIGCONT");
  }

  async stop(): Promise<void> {
    await this.unplug();
    Bun.spawnSync(["umount", "-l", this.#mount]);
  }

  /** Makes this device /dev/crypto while `action` runs. */
  async asDevCrypto<T>(action: () => Promise<T>): Promise<T> {
    symlinkSync(this.path, "/dev/crypto");
    try {
      return await action();
    } finally {
      unlinkSync("/dev/crypto");
    }
  }
}
