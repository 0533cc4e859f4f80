/** Two places for one pair of keys: each message is done where its size is done faster. */
import type { Backend, KeyPair } from "./backend.ts";
import { ciphertextBetween, ciphertextBytes } from "./suite.ts";

/** Where messages are done whose ciphertext is longer than the class before has it. */
export interface SizeClass {
  /** Greatest ciphertext, in bytes. */
  readonly bytes: number;
  readonly where: "software" | "device";
}

export class BySizeBackend implements Backend {
  readonly description: string;
  readonly software: Backend;
  readonly device: Backend;
  readonly #classes: readonly SizeClass[];

  /** @param classes in the order of their sizes; the last one's place is that of all above, too */
  constructor(
    description: string,
    software: Backend,
    device: Backend,
    classes: readonly SizeClass[],
  ) {
    this.description = description;
    this.software = software;
    this.device = device;
    this.#classes = classes;
  }

  placeOf(ciphertext: number): "software" | "device" {
    let where: "software" | "device" = "software";
    for (const one of this.#classes) {
      where = one.where;
      if (ciphertext <= one.bytes) break;
    }
    return where;
  }

  open(encryptionKey: Uint8Array, macKey: Uint8Array): KeyPair {
    return new BySizeKeys(this, encryptionKey, macKey);
  }

  close(): void {
    this.device.close();
    this.software.close();
  }
}

class BySizeKeys implements KeyPair {
  readonly #owner: BySizeBackend;
  readonly #encryptionKey: Uint8Array;
  readonly #macKey: Uint8Array;
  readonly #software: KeyPair;
  /** From the first message on that is done there: many a sender has none. */
  #device: KeyPair | undefined;

  constructor(owner: BySizeBackend, encryptionKey: Uint8Array, macKey: Uint8Array) {
    this.#owner = owner;
    this.#encryptionKey = Uint8Array.from(encryptionKey);
    this.#macKey = Uint8Array.from(macKey);
    this.#software = owner.software.open(encryptionKey, macKey);
  }

  #at(ciphertext: number): KeyPair {
    if (this.#owner.placeOf(ciphertext) === "software") return this.#software;
    this.#device ??= this.#owner.device.open(this.#encryptionKey, this.#macKey);
    return this.#device;
  }

  seal(buffer: Uint8Array, adAt: number, ivAt: number, plaintextBytes: number): number {
    const keys = this.#at(ciphertextBytes(plaintextBytes));
    return keys.seal(buffer, adAt, ivAt, plaintextBytes);
  }

  open(buffer: Uint8Array, adAt: number, ivAt: number, end: number): number {
    return this.#at(ciphertextBetween(ivAt, end)).open(buffer, adAt, ivAt, end);
  }

  close(): void {
    this.#software.close();
    this.#device?.close();
    this.#encryptionKey.fill(0);
    this.#macKey.fill(0);
  }
}
