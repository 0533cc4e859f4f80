/** Puts committed entries into a ring, and has the readers served before any of them is overwritten. */
import { LENGTH_BYTES, readU32 } from "../../protocol/frame.ts";
import type { Ring } from "./ring.ts";
import type { Run } from "./run.ts";

/**
 * @param runs entries that are laid out, numbered from `ring.next` on
 * @param committed serves the readers: once, or as often as the ring's size asks for
 */
export function commit(ring: Ring, runs: readonly Run[], committed: () => void): void {
  let shown = ring.head;
  for (const { bytes: frames } of runs) {
    for (let at = 0; at < frames.length; ) {
      const end = at + LENGTH_BYTES + readU32(frames, at);
      if (ring.head > shown && ring.head + end - at - shown > ring.capacity / 2) {
        committed();
        shown = ring.head;
      }
      ring.appendFrame(frames, at, end);
      at = end;
    }
  }
  committed();
}
