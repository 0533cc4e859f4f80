/** A known answer that a backend must give before it is trusted: RFC 7518, appendix B.3. */

import { type Backend, DeviceError, KEY_BYTES } from "./backend.ts";
import vector from "./rfc7518-b3.json" with { type: "json" };
import { IV_BYTES, open, seal } from "./suite.ts";

/** @throws DeviceError when the answer is wrong, or the backend's own when it gives none */
export function selfTest(backend: Backend): void {
  const key = Buffer.from(vector.K, "hex");
  const parts = [vector.A, vector.IV, vector.P].map((hex) => Buffer.from(hex, "hex"));
  const [associated, , plaintext] = parts as [Buffer, Buffer, Buffer];
  const expected = Buffer.from(vector.A + vector.IV + vector.E + vector.T, "hex");
  const buffer = new Uint8Array(expected.length);
  buffer.set(Buffer.concat(parts));
  const ivAt = associated.length;
  const keys = backend.open(key.subarray(KEY_BYTES), key.subarray(0, KEY_BYTES));
  try {
    const end = seal(keys, buffer, 0, ivAt, plaintext.length);
    const sealed = end === expected.length && expected.equals(buffer);
    const opened = open(keys, buffer, 0, ivAt, end);
    const text = buffer.subarray(ivAt + IV_BYTES, ivAt + IV_BYTES + plaintext.length);
    // One more, with a tag that is wrong in its last bit: a device that says yes to all fails.
    const forged = Uint8Array.from(expected);
    forged[forged.length - 1] = (forged[forged.length - 1] as number) ^ 1;
    const refused = open(keys, forged, 0, ivAt, expected.length) === -1;
    if (!sealed || opened !== plaintext.length || !plaintext.equals(text) || !refused) {
      throw new DeviceError(`${backend.description}: wrong answer in the self-test (RFC 7518 B.3)`);
    }
  } finally {
    keys.close();
  }
}
