/**
 * The simulator's dice: xoshiro128** (Blackman and Vigna, "Scrambled linear pseudorandom number
 * generators", 2018), seeded with SHA-256 of a text. Not for cryptography.
 *
 * Each part of a simulation forks a generator of its own by name, so that one part drawing more or less
 * does not change what the others draw.
 */

const rotl = (x: number, k: number) => (x << k) | (x >>> (32 - k));

export class Prng {
  readonly seed: string;
  readonly #state: Uint32Array;

  constructor(seed: string | number) {
    this.seed = String(seed);
    const digest = new Bun.CryptoHasher("sha256").update(this.seed).digest();
    this.#state = new Uint32Array(digest.buffer.slice(digest.byteOffset, digest.byteOffset + 16));
  }

  /** A generator that depends on this one's seed and `name` only, not on what was drawn. */
  fork(name: string): Prng {
    return new Prng(`${this.seed}/${name}`);
  }

  /** A whole number from 0 to 2^32 - 1. */
  u32(): number {
    const s = this.#state;
    const [s0, s1, s2, s3] = s as unknown as [number, number, number, number];
    const result = Math.imul(rotl(Math.imul(s1, 5), 7), 9) >>> 0;
    s[2] = s2 ^ s0;
    s[3] = s3 ^ s1;
    s[1] = s1 ^ (s[2] as number);
    s[0] = s0 ^ (s[3] as number);
    s[2] = (s[2] as number) ^ (s1 << 9);
    s[3] = rotl(s[3] as number, 11);
    return result;
  }

  /** A number from 0 up to and without 1. */
  fraction(): number {
    return (this.u32() * 0x20_0000 + (this.u32() >>> 11)) / 2 ** 53;
  }

  /** A whole number from 0 to `n` - 1. */
  int(n: number): number {
    return Math.floor(this.fraction() * n);
  }

  /** A whole number from `min` to `max`, both of them possible. */
  range(min: number, max: number): number {
    return min + this.int(max - min + 1);
  }

  /** A number from `min` to `max`, whose magnitude is as likely as its value: many are small. */
  magnitude(min: number, max: number): number {
    const low = Math.max(min, 1e-3);
    return Math.max(min, Math.min(max, low * (max / low) ** this.fraction()));
  }

  /** True with probability `p`. */
  chance(p: number): boolean {
    return this.fraction() < p;
  }

  /** @throws Error where there is nothing to pick from */
  pick<T>(items: readonly T[]): T {
    if (items.length === 0) throw new Error("nothing to pick from");
    return items[this.int(items.length)] as T;
  }

  /** How long until something happens that happens every `mean` on average; in the unit of `mean`. */
  waiting(mean: number): number {
    return -Math.log(1 - this.fraction()) * mean;
  }

  /** Fills `bytes` and returns them. */
  bytes(bytes: Uint8Array): Uint8Array {
    for (let i = 0; i < bytes.length; i++) bytes[i] = this.u32() >>> 24;
    return bytes;
  }
}
