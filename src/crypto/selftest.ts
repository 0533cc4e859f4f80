/**
 * Answers that a backend must give before it is trusted: RFC 7518, appendix B.3, and software's for
 * a message that is larger, which devices do in another way.
 */

import { randomFillSync } from "node:crypto";
import { type Backend, DeviceError, KEY_BYTES, type KeyPair } from "./backend.ts";
import vector from "./rfc7518-b3.json" with { type: "json" };
import { software } from "./software.ts";
import { IV_BYTES, TAG_BYTES } from "./suite.ts";

/** A ciphertext, in bytes, that is no whole number of pages. */
const LARGE_BYTES = 20_016;

/** @throws DeviceError when the answer is wrong, or the backend's own when it gives none */
export function selfTest(backend: Backend): void {
  const key = Buffer.from(vector.K, "hex");
  const [encryptionKey, macKey] = [key.subarray(KEY_BYTES), key.subarray(0, KEY_BYTES)];
  const keys = backend.open(encryptionKey, macKey);
  try {
    const known = knowsAnswer(keys);
    if (!known || !agree(keys, software.open(encryptionKey, macKey), LARGE_BYTES)) {
      const which = known ? `${LARGE_BYTES} bytes` : "RFC 7518 B.3";
      throw new DeviceError(`${backend.description}: wrong answer in the self-test (${which})`);
    }
  } finally {
    keys.close();
  }
}

function knowsAnswer(keys: KeyPair): boolean {
  const parts = [vector.A, vector.IV, vector.P].map((hex) => Buffer.from(hex, "hex"));
  const [associated, , plaintext] = parts as [Buffer, Buffer, Buffer];
  const expected = Buffer.from(vector.A + vector.IV + vector.E + vector.T, "hex");
  const buffer = new Uint8Array(expected.length);
  buffer.set(Buffer.concat(parts));
  const ivAt = associated.length;
  const end = keys.seal(buffer, 0, ivAt, plaintext.length);
  const sealed = end === expected.length && expected.equals(buffer);
  const opened = keys.open(buffer, 0, ivAt, end);
  const text = buffer.subarray(ivAt + IV_BYTES, ivAt + IV_BYTES + plaintext.length);
  // One more, with a tag that is wrong in its last bit: a device that says yes to all fails.
  const forged = Uint8Array.from(expected);
  forged[forged.length - 1] = (forged[forged.length - 1] as number) ^ 1;
  const refused = keys.open(forged, 0, ivAt, expected.length) === -1;
  return sealed && opened === plaintext.length && plaintext.equals(text) && refused;
}

/** Whether two that have the same keys seal a message of `ciphertext` bytes alike, and open it. */
export function agree(one: KeyPair, other: KeyPair, ciphertext: number): boolean {
  const plaintextBytes = ciphertext - 1;
  const ivAt = IV_BYTES;
  const original = new Uint8Array(ivAt + IV_BYTES + ciphertext + TAG_BYTES);
  randomFillSync(original, 0, ivAt + IV_BYTES + plaintextBytes);
  const [a, b] = [Uint8Array.from(original), Uint8Array.from(original)];
  const end = one.seal(a, 0, ivAt, plaintextBytes);
  if (other.seal(b, 0, ivAt, plaintextBytes) !== end || Buffer.compare(a, b) !== 0) return false;
  if (one.open(a, 0, ivAt, end) !== plaintextBytes) return false;
  const textEnd = ivAt + IV_BYTES + plaintextBytes;
  return Buffer.compare(a.subarray(0, textEnd), original.subarray(0, textEnd)) === 0;
}
