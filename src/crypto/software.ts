/** The backend that is always there: node:crypto, which is BoringSSL in Bun. */
import { createCipheriv, createDecipheriv, createHmac } from "node:crypto";
import { type Backend, BLOCK_BYTES, type KeyPair, type Primitives } from "./backend.ts";
import { open, seal } from "./suite.ts";

class SoftwareKeys implements KeyPair, Primitives {
  readonly #encryptionKey: Uint8Array;
  readonly #macKey: Uint8Array;

  constructor(encryptionKey: Uint8Array, macKey: Uint8Array) {
    this.#encryptionKey = Uint8Array.from(encryptionKey);
    this.#macKey = Uint8Array.from(macKey);
  }

  seal(buffer: Uint8Array, adAt: number, ivAt: number, plaintextBytes: number): number {
    return seal(this, buffer, adAt, ivAt, plaintextBytes);
  }

  open(buffer: Uint8Array, adAt: number, ivAt: number, end: number): number {
    return open(this, buffer, adAt, ivAt, end);
  }

  encrypt(buffer: Uint8Array, at: number, length: number, ivAt: number): void {
    const iv = buffer.subarray(ivAt, ivAt + BLOCK_BYTES);
    const cipher = createCipheriv("aes-256-cbc", this.#encryptionKey, iv).setAutoPadding(false);
    buffer.set(cipher.update(buffer.subarray(at, at + length)), at);
  }

  decrypt(buffer: Uint8Array, at: number, length: number, ivAt: number): void {
    const iv = buffer.subarray(ivAt, ivAt + BLOCK_BYTES);
    const cipher = createDecipheriv("aes-256-cbc", this.#encryptionKey, iv).setAutoPadding(false);
    buffer.set(cipher.update(buffer.subarray(at, at + length)), at);
  }

  mac(buffer: Uint8Array, at: number, length: number, digest: Uint8Array): void {
    const hmac = createHmac("sha512", this.#macKey);
    digest.set(hmac.update(buffer.subarray(at, at + length)).digest());
  }

  close(): void {
    this.#encryptionKey.fill(0);
    this.#macKey.fill(0);
  }
}

export const software = {
  description: "software (node:crypto)",
  open: (encryptionKey: Uint8Array, macKey: Uint8Array) => new SoftwareKeys(encryptionKey, macKey),
  close: () => undefined,
} satisfies Backend;
