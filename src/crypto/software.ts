/** The backend that is always there: node:crypto, which is BoringSSL in Bun. */
import { createCipheriv, createDecipheriv, createHmac } from "node:crypto";
import { type Backend, BLOCK_BYTES, type KeyPair } from "./backend.ts";

class SoftwareKeys implements KeyPair {
  readonly #encryptionKey: Uint8Array;
  readonly #macKey: Uint8Array;

  constructor(encryptionKey: Uint8Array, macKey: Uint8Array) {
    this.#encryptionKey = Uint8Array.from(encryptionKey);
    this.#macKey = Uint8Array.from(macKey);
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

export const software: Backend = {
  description: "software (node:crypto)",
  open: (encryptionKey, macKey) => new SoftwareKeys(encryptionKey, macKey),
  close: () => undefined,
};
