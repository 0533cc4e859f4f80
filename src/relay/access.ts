/** Who may use this relay: anybody, or those who have its access key (docs/protocol.md, "Access"). */
import { timingSafeEqual } from "node:crypto";
import { ProtocolError } from "../protocol/errors.ts";
import { ACCESS_BYTES, accessProof } from "../protocol/keys.ts";
import type { Hello } from "../protocol/messages.ts";

const NOTHING = new Uint8Array(ACCESS_BYTES);

/**
 * Lets a client in, or not.
 * @param key the relay's access key, 32 bytes; undefined lets everybody in
 * @throws ProtocolError "access"
 */
export function checkAccess(key: Uint8Array | undefined, hello: Hello): void {
  if (key === undefined) return;
  const right = accessProof(key, hello.roomId);
  // Compared in the same time whatever is shown, also when nothing is.
  const same = timingSafeEqual(right, hello.access ?? NOTHING);
  if (same && hello.access !== undefined) return;
  throw new ProtocolError(
    "access",
    hello.access === undefined
      ? "this relay is not open to everybody: ask its owner for the access key (--access-file)"
      : "the access key is not this relay's: ask its owner for the right one (--access-file)",
  );
}
