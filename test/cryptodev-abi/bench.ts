/** What tests of the ABI work on: the program of one width, in a guest that has been booted. */
import { expect } from "bun:test";
import { CryptoTool } from "../support/crypto-tool.ts";
import type { Guest } from "../vm/guest.ts";

export class Bench {
  /** Of how many bits the program is. */
  readonly width: 64 | 32;
  readonly #guest: () => Guest;

  constructor(width: 64 | 32, guest: () => Guest) {
    this.width = width;
    this.#guest = guest;
  }

  get guest(): Guest {
    return this.#guest();
  }

  get program(): string {
    return this.width === 64 ? "cryptodev-tool" : "cryptodev-tool32";
  }

  /** Runs calls in one process: their answers, one each. */
  async calls(lines: readonly string[], milliseconds = 120_000): Promise<string[]> {
    return await new CryptoTool(this.guest, this.program).calls(lines, milliseconds);
  }

  /** Opens the device as 3 and makes sessions 1, 2 ...: the answers to the calls behind that. */
  async within(sessions: readonly string[], lines: readonly string[]): Promise<string[]> {
    const answers = await this.calls(["open /dev/crypto", ...sessions, ...lines]);
    const made = answers.splice(0, sessions.length + 1);
    expect(made).toEqual(["ok 3", ...sessions.map((_, i) => `ok ${i + 1}`)]);
    return answers;
  }
}

/** Errors by the ABI's numbers, as the program says them. */
export const EFAULT = "error 14";
export const ENOMEM = "error 12";
export const EBUSY = "error 16";
export const ENODEV = "error 19";
export const EINVAL = "error 22";
export const EBADMSG = "error 74";

export const random = (bytes: number) => Buffer.from(crypto.getRandomValues(new Uint8Array(bytes)));

/** A copy with one bit of one byte changed. */
export function flipped(bytes: Uint8Array, at: number): Buffer {
  const copy = Buffer.from(bytes);
  copy[at] = (copy[at] ?? 0) ^ 1;
  return copy;
}
