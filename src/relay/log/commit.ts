/** Puts committed entries into a ring, and has the readers served before any of them is overwritten. */
import { LENGTH_BYTES, readU32 } from "../../protocol/frame.ts";
import type { Ring } from "./ring.ts";

/**
 * @param frames entries that are laid out, numbered from `ring.next` on
 * @param committed serves the readers; called at least once
 */
export function commit(ring: Ring, frames: Uint8Array, committed: () => void): void {
  let shown = ring.head;
  for (let at = 0; at < frames.length; ) {
    const end = at + LENGTH_BYTES + readU32(frames, at);
    if (ring.head > shown && ring.head + end - at - shown > ring.capacity / 2) {
      committed();
      shown = ring.head;
    }
    ring.appendFrame(frames, at, end);
    at = end;
  }
  committed();
}
