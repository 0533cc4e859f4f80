/**
 * What a place that does cryptography offers: pairs of keys with which messages are sealed and opened
 * as suite.ts says, so that the bytes that leave the program are the same whichever place is used.
 */

/** Bytes of an AES-256 key, and of the MAC key of the suite. */
export const KEY_BYTES = 32;
/** Bytes of an AES block, which is the IV's size too. */
export const BLOCK_BYTES = 16;
/** Bytes of an HMAC-SHA-512. */
export const DIGEST_BYTES = 64;

/**
 * The suite's two primitives, AES-256-CBC without padding and HMAC-SHA-512, with one pair of keys.
 * All positions and lengths are in bytes.
 */
export interface Primitives {
  /** Encrypts `length` bytes (a multiple of 16) at `at` in place; the IV lies at `ivAt`. */
  encrypt(buffer: Uint8Array, at: number, length: number, ivAt: number): void;
  /** Decrypts likewise. */
  decrypt(buffer: Uint8Array, at: number, length: number, ivAt: number): void;
  /** Writes the 64-byte MAC of `length` bytes at `at` to `digest`. */
  mac(buffer: Uint8Array, at: number, length: number, digest: Uint8Array): void;
}

/** One pair of keys, ready for use. A message lies in its buffer as suite.ts has it. */
export interface KeyPair {
  /**
   * Seals `plaintextBytes` bytes in place. The associated data lies from `adAt` to `ivAt`, the IV
   * at `ivAt`, the plaintext behind it; the buffer must have room for padding and tag.
   * @returns where the tag ends
   */
  seal(buffer: Uint8Array, adAt: number, ivAt: number, plaintextBytes: number): number;
  /**
   * Opens in place what `seal` made; the tag ends at `end`.
   * @returns the plaintext's length, or -1 when the message is not authentic
   */
  open(buffer: Uint8Array, adAt: number, ivAt: number, end: number): number;
  /** Zeroes what there is to zero; the pair is of no use after that. */
  close(): void;
}

export interface Backend {
  /** What people are told that is used, e.g. "software (node:crypto)". */
  readonly description: string;
  /**
   * Takes a 32-byte encryption key and a 32-byte MAC key, and keeps copies at most.
   * @throws DeviceError where a device refuses
   */
  open(encryptionKey: Uint8Array, macKey: Uint8Array): KeyPair;
  close(): void;
}

/** A crypto device failed; `message` names the call. */
export class DeviceError extends Error {
  override name = "DeviceError";
}
