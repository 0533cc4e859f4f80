/**
 * AES_256_CBC_HMAC_SHA_512, the authenticated encryption of RFC 7518 section 5.2.5 (A256CBC-HS512):
 * AES-256-CBC with PKCS #7 padding, then HMAC-SHA-512 over associated data, IV, ciphertext and the
 * associated data's length in bits, cut to 32 bytes. It commits to its key, and it maps onto one
 * cipher session and one MAC session of a crypto device. It is not meant for more than 2^32
 * messages under one key, nor for an IV that was used before.
 *
 * Everything lies in one buffer, so that no byte is copied:
 *
 *   associated data | IV (16) | ciphertext | tag (32)
 */
import { timingSafeEqual } from "node:crypto";
import { writeU64 } from "../protocol/frame.ts";
import { BLOCK_BYTES, DIGEST_BYTES, type Primitives } from "./backend.ts";

export const IV_BYTES = BLOCK_BYTES;
export const TAG_BYTES = 32;
/** Bytes of the associated data's length, hashed at its end. */
const LENGTH_BYTES = 8;

const digest = new Uint8Array(DIGEST_BYTES);
const received = new Uint8Array(TAG_BYTES);

/** Bytes that `plaintext` bytes take when they are padded and encrypted. */
export function ciphertextBytes(plaintext: number): number {
  return plaintext + BLOCK_BYTES - (plaintext % BLOCK_BYTES);
}

/** Bytes of the ciphertext in a message whose IV lies at `ivAt` and whose tag ends at `end`. */
export function ciphertextBetween(ivAt: number, end: number): number {
  return end - TAG_BYTES - ivAt - IV_BYTES;
}

/** Seals with `keys`, as KeyPair.seal has it. */
export function seal(
  keys: Primitives,
  buffer: Uint8Array,
  adAt: number,
  ivAt: number,
  plaintextBytes: number,
): number {
  const at = ivAt + IV_BYTES;
  const length = ciphertextBytes(plaintextBytes);
  buffer.fill(length - plaintextBytes, at + plaintextBytes, at + length);
  keys.encrypt(buffer, at, length, ivAt);
  const tagAt = at + length;
  authenticate(keys, buffer, adAt, ivAt, tagAt);
  putTag(buffer, tagAt);
  return tagAt + TAG_BYTES;
}

/**
 * Opens with `keys`, as KeyPair.open has it. Nothing is decrypted before the tag has been compared,
 * in constant time.
 */
export function open(
  keys: Primitives,
  buffer: Uint8Array,
  adAt: number,
  ivAt: number,
  end: number,
): number {
  const length = ciphertextBetween(ivAt, end);
  if (!isWhole(length)) return -1;
  takeTag(buffer, end);
  authenticate(keys, buffer, adAt, ivAt, end - TAG_BYTES);
  if (!isRight()) return -1;
  keys.decrypt(buffer, ivAt + IV_BYTES, length, ivAt);
  return unpadded(buffer, ivAt + IV_BYTES, length);
}

/**
 * Seals in `work`, memory that a device may write to at any time. The message comes from `buffer`
 * and goes back there once: of `work` nothing is looked at but that copy.
 */
export function sealIn(
  work: Uint8Array,
  keys: Primitives,
  buffer: Uint8Array,
  adAt: number,
  ivAt: number,
  plaintextBytes: number,
): number {
  const at = ivAt + IV_BYTES;
  const length = ciphertextBytes(plaintextBytes);
  buffer.fill(length - plaintextBytes, at + plaintextBytes, at + length);
  work.set(buffer.subarray(adAt, at + length));
  keys.encrypt(work, at - adAt, length, ivAt - adAt);
  authenticate(keys, work, 0, ivAt - adAt, at + length - adAt);
  buffer.set(work.subarray(at - adAt, at + length - adAt), at);
  putTag(buffer, at + length);
  return at + length + TAG_BYTES;
}

/**
 * Opens in `work`, memory that a device may write to at any time. The tag stays out of it, and the
 * plaintext is looked at where it has been copied to, in `buffer`.
 */
export function openIn(
  work: Uint8Array,
  keys: Primitives,
  buffer: Uint8Array,
  adAt: number,
  ivAt: number,
  end: number,
): number {
  const at = ivAt + IV_BYTES;
  const length = ciphertextBetween(ivAt, end);
  if (!isWhole(length)) return -1;
  takeTag(buffer, end);
  work.set(buffer.subarray(adAt, at + length));
  authenticate(keys, work, 0, ivAt - adAt, at + length - adAt);
  if (!isRight()) return -1;
  keys.decrypt(work, at - adAt, length, ivAt - adAt);
  buffer.set(work.subarray(at - adAt, at + length - adAt), at);
  return unpadded(buffer, at, length);
}

/** Leaves the MAC in `digest`; overwrites the first 8 bytes of the tag's place. */
function authenticate(
  keys: Primitives,
  buffer: Uint8Array,
  adAt: number,
  ivAt: number,
  tagAt: number,
): void {
  writeU64(buffer, tagAt, (ivAt - adAt) * 8);
  keys.mac(buffer, adAt, tagAt + LENGTH_BYTES - adAt, digest);
}

function putTag(buffer: Uint8Array, tagAt: number): void {
  for (let i = 0; i < TAG_BYTES; i++) buffer[tagAt + i] = digest[i] as number;
}

function takeTag(buffer: Uint8Array, end: number): void {
  for (let i = 0; i < TAG_BYTES; i++) received[i] = buffer[end - TAG_BYTES + i] as number;
}

/** Whether the tag that was taken is the MAC's beginning. */
function isRight(): boolean {
  return timingSafeEqual(digest.subarray(0, TAG_BYTES), received);
}

function isWhole(ciphertext: number): boolean {
  return ciphertext >= BLOCK_BYTES && ciphertext % BLOCK_BYTES === 0;
}

/** The length without the padding of `length` bytes at `at`, or -1 where that is no padding. */
function unpadded(buffer: Uint8Array, at: number, length: number): number {
  const end = at + length;
  const padding = buffer[end - 1] as number;
  if (padding < 1 || padding > BLOCK_BYTES) return -1;
  for (let i = end - padding; i < end; i++) {
    if (buffer[i] !== padding) return -1;
  }
  return length - padding;
}
