/** A device while it works, software from its first failure on. */
import { type Backend, DeviceError, type KeyPair } from "./backend.ts";

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

  open(encryptionKey: Uint8Array, macKey: Uint8Array): KeyPair {
    return new FallbackKeys(this, encryptionKey, macKey);
  }

  close(): void {
    this.#current.close();
  }

  /** Runs `operation`, once more after going over to the second backend if the first fails. */
  attempt(operation: () => void): void {
    try {
      operation();
    } catch (error) {
      if (!(error instanceof DeviceError) || this.#current === this.#second) throw error;
      this.#current.close();
      this.#current = this.#second;
      this.#onFallback(error.message);
      operation();
    }
  }

  /** A copy of bytes that an operation may half overwrite before it fails. */
  keep(buffer: Uint8Array, at: number, length: number): Uint8Array {
    if (this.#spare.length < length) this.#spare = new Uint8Array(length * 2);
    this.#spare.set(buffer.subarray(at, at + length));
    return this.#spare;
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
    owner.attempt(() => this.#ready());
  }

  /** The keys in the backend that is in use now. */
  #ready(): KeyPair {
    const backend = this.#owner.current;
    if (this.#keys === undefined || this.#backend !== backend) {
      this.#keys = backend.open(this.#encryptionKey, this.#macKey);
      this.#backend = backend;
    }
    return this.#keys;
  }

  encrypt(buffer: Uint8Array, at: number, length: number, ivAt: number): void {
    this.#inPlace(buffer, at, length, () => this.#ready().encrypt(buffer, at, length, ivAt));
  }

  decrypt(buffer: Uint8Array, at: number, length: number, ivAt: number): void {
    this.#inPlace(buffer, at, length, () => this.#ready().decrypt(buffer, at, length, ivAt));
  }

  #inPlace(buffer: Uint8Array, at: number, length: number, operation: () => void): void {
    const before = this.#owner.keep(buffer, at, length);
    let tries = 0;
    this.#owner.attempt(() => {
      if (tries++ > 0) buffer.set(before.subarray(0, length), at);
      operation();
    });
  }

  mac(buffer: Uint8Array, at: number, length: number, digest: Uint8Array): void {
    this.#owner.attempt(() => this.#ready().mac(buffer, at, length, digest));
  }

  close(): void {
    // Where the backend has changed meanwhile, it was closed with all its sessions.
    if (this.#backend === this.#owner.current) this.#keys?.close();
    this.#encryptionKey.fill(0);
    this.#macKey.fill(0);
  }
}
