/**
 * The memory of the program in the guest, and the same here: whatever is put there, and whatever the
 * device is to write, so that at the end all of it can be compared, also what nobody was to touch.
 */
import { pattern, patternWord, sum } from "./crypto-calls.ts";

export class Memory {
  readonly #names = new Map<string, Buffer>();
  readonly #lines: string[] = [];
  readonly #expected: (string | undefined)[] = [];

  /** Adds a line, and its answer where it matters. */
  line(text: string, expected?: string): this {
    this.#lines.push(text);
    this.#expected.push(expected);
    return this;
  }

  get lines(): readonly string[] {
    return this.#lines;
  }

  anon(name: string, bytes: number): this {
    this.#names.set(name, Buffer.alloc(bytes));
    return this.line(`anon ${name} ${bytes}`, "ok");
  }

  /** Memory of file 3's, or another's; at a place in other memory where there is one. */
  map(name: string, bytes: number, fd = 3, place = ""): this {
    this.#names.set(name, place === "" ? Buffer.alloc(bytes) : this.at(place).fill(0, 0, bytes));
    return this.line(`map ${name} ${fd} ${bytes} 3 1 0 ${place}`.trim(), "ok");
  }

  /** The bytes from a place on. */
  at(place: string): Buffer {
    const [name = "", offset = "0"] = place.split("+");
    const memory = this.#names.get(name);
    if (memory === undefined) throw new Error(`no memory is named ${name}`);
    return memory.subarray(Number(offset));
  }

  put(place: string, bytes: number, seed: number): this {
    pattern(bytes, seed).copy(this.at(place));
    return this.line(`put ${place} ${patternWord(bytes, seed)}`, "ok");
  }

  /** What a call writes. */
  written(place: string, bytes: Uint8Array): this {
    Buffer.from(bytes).copy(this.at(place));
    return this;
  }

  /** Compares memory whole, or what is left of it. */
  check(place: string, bytes = this.at(place).length): this {
    const memory = this.at(place).subarray(0, bytes);
    return this.line(`sum ${place} ${bytes}`, `ok ${sum(memory)}`);
  }

  /** Answers beside those that are expected; what does not matter is left out of both. */
  compared(answers: readonly string[]): [string[], string[]] {
    const told = (list: readonly (string | undefined)[]) =>
      list.flatMap((text, i) =>
        this.#expected[i] === undefined ? [] : [`${this.#lines[i]} -> ${text}`],
      );
    return [told(answers), told(this.#expected)];
  }
}
