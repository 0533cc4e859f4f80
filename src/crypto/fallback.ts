/** A device while it works, software from its first failure on. */
import { type Backend, DeviceError, type KeyPair } from "./backend.ts";
import { IV_BYTES } from "./suite.ts";

/** Longest input that is kept aside to be done again, in bytes; grows when needed. */
const SPARE_BYTES = 4096;

export class FallbackBackend implements Backend {
  #current: Backend;
  readonly #second: Backend;
  readonly #onFallback: (why: string) => void;
  #spare = new Uint8Array(SPARE_BYTES);

  /** @param onFallback told once, when `first` has failed and `second` takes over */
  constructor(first: Backend, second: Backend, onFallback: (why: string) => void) {
    this.#current = first;
    this.#second = second;
    this.#onFallback = onFallback;
  }

  get description(): string {
    return this.#current.description;
  }

  get current(): Backend {
    return this.#current;
  }

  /** Whether there is something to go over to yet. */
  get mayFail(): boolean {
    return this.#current !== this.#second;
  }

  open(encryptionKey: Uint8Array, macKey: Uint8Array): KeyPair {
    return new FallbackKeys(this, encryptionKey, macKey);
  }

  close(): void {
    this.#current.close();
  }

  /** Goes over to the second backend after `error` of the first. @throws `error` where it is no such */
  giveUp(error: unknown): void {
    if (!(error instanceof DeviceError) || !this.mayFail) throw error;
    this.#current.close();
    this.#current = this.#second;
    this.#onFallback(error.message);
  }

  /** A copy of bytes that a device may half overwrite before it fails. */
  keep(buffer: Uint8Array, from: number, to: number): Uint8Array {
    const length = to - from;
    if (this.#spare.length < length) this.#spare = new Uint8Array(length * 2);
    this.#spare.set(buffer.subarray(from, to));
    return this.#spare.subarray(0, length);
  }
}

class FallbackKeys implements KeyPair {
  readonly #owner: FallbackBackend;
  readonly #encryptionKey: Uint8Array;
  readonly #macKey: Uint8Array;
  #backend: Backend | undefined;
  #keys: KeyPair | undefined;

  constructor(owner: FallbackBackend, encryptionKey: Uint8Array, macKey: Uint8Array) {
    this.#owner = owner;
    this.#encryptionKey = Uint8Array.from(encryptionKey);
    this.#macKey = Uint8Array.from(macKey);
    this.#ready();
  }

  /** The keys in the backend that is in use now, or in the second where the first has none. */
  #ready(): KeyPair {
    const backend = this.#owner.current;
    if (this.#keys !== undefined && this.#backend === backend) return this.#keys;
    try {
      this.#keys = backend.open(this.#encryptionKey, this.#macKey);
      this.#backend = backend;
      return this.#keys;
    } catch (error) {
      this.#owner.giveUp(error);
      return this.#ready();
    }
  }

  seal(buffer: Uint8Array, adAt: number, ivAt: number, plaintextBytes: number): number {
    const keys = this.#ready();
    if (!this.#owner.mayFail) return keys.seal(buffer, adAt, ivAt, plaintextBytes);
    const at = ivAt + IV_BYTES;
    const before = this.#owner.keep(buffer, at, at + plaintextBytes);
    try {
      return keys.seal(buffer, adAt, ivAt, plaintextBytes);
    } catch (error) {
      this.#owner.giveUp(error);
      buffer.set(before, at);
      return this.#ready().seal(buffer, adAt, ivAt, plaintextBytes);
    }
  }

  open(buffer: Uint8Array, adAt: number, ivAt: number, end: number): number {
    const keys = this.#ready();
    if (!this.#owner.mayFail) return keys.open(buffer, adAt, ivAt, end);
    const before = this.#owner.keep(buffer, ivAt, end);
    try {
      return keys.open(buffer, adAt, ivAt, end);
    } catch (error) {
      this.#owner.giveUp(error);
      buffer.set(before, ivAt);
      return this.#ready().open(buffer, adAt, ivAt, end);
    }
  }

  close(): void {
    // Where the backend has changed meanwhile, it was closed with all its sessions.
    if (this.#backend === this.#owner.current) this.#keys?.close();
    this.#encryptionKey.fill(0);
    this.#macKey.fill(0);
  }
}
