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
import { BLOCK_BYTES, DIGEST_BYTES, type KeyPair } from "./backend.ts";

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

/**
 * Seals `plaintextBytes` bytes in place. The associated data lies from `adAt` to `ivAt`, the IV at
 * `ivAt`, the plaintext behind it; the buffer must have room for padding and tag.
 * @returns where the tag ends
 */
export function seal(
  keys: KeyPair,
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
  for (let i = 0; i < TAG_BYTES; i++) buffer[tagAt + i] = digest[i] as number;
  return tagAt + TAG_BYTES;
}

/**
 * Opens in place what `seal` made; the tag ends at `end`. Nothing is decrypted before the tag has
 * been compared, in constant time.
 * @returns the plaintext's length, or -1 when the message is not authentic
 */
export function open(
  keys: KeyPair,
  buffer: Uint8Array,
  adAt: number,
  ivAt: number,
  end: number,
): number {
  const at = ivAt + IV_BYTES;
  const tagAt = end - TAG_BYTES;
  const length = tagAt - at;
  if (length < BLOCK_BYTES || length % BLOCK_BYTES !== 0) return -1;
  for (let i = 0; i < TAG_BYTES; i++) received[i] = buffer[tagAt + i] as number;
  authenticate(keys, buffer, adAt, ivAt, tagAt);
  if (!timingSafeEqual(digest.subarray(0, TAG_BYTES), received)) return -1;
  keys.decrypt(buffer, at, length, ivAt);
  const padding = buffer[tagAt - 1] as number;
  if (padding < 1 || padding > BLOCK_BYTES) return -1;
  for (let i = tagAt - padding; i < tagAt; i++) {
    if (buffer[i] !== padding) return -1;
  }
  return length - padding;
}

/** Leaves the MAC in `digest`; overwrites the first 8 bytes of the tag's place. */
function authenticate(
  keys: KeyPair,
  buffer: Uint8Array,
  adAt: number,
  ivAt: number,
  tagAt: number,
): void {
  writeU64(buffer, tagAt, (ivAt - adAt) * 8);
  keys.mac(buffer, adAt, tagAt + LENGTH_BYTES - adAt, digest);
}
