/** Drives the cryptodev program in a guest: one call, one answer. */
import type { Guest } from "../vm/guest.ts";

export class CryptoTool {
  readonly #guest: Guest;
  readonly #program: string;

  constructor(guest: Guest, program = "cryptodev-tool") {
    this.#guest = guest;
    this.#program = program;
  }

  /** Runs calls in one process: their answers, one each. */
  async calls(lines: readonly string[], milliseconds?: number): Promise<string[]> {
    const script = `${this.#program} <<'END'\n${lines.join("\n")}\nEND\n`;
    const { code, output } = await this.#guest.run(script, milliseconds);
    const answers = output.split("\n").slice(0, -1);
    if (code !== 0 || answers.length !== lines.length) {
      throw new Error(
        `the tool ended with ${code} after ${answers.length} of ${lines.length} calls: ${output.slice(-500)}`,
      );
    }
    return answers;
  }
}
