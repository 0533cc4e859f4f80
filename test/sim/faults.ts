/** What a simulated network does to connections, within the bounds that a seed has drawn. */
import type { Prng } from "./prng.ts";

/** The least and the greatest. */
export type Bounds = readonly [number, number];

export interface NetworkFaults {
  /** How long bytes are on their way, in milliseconds; each direction draws bounds of its own in these. */
  readonly delayMs: Bounds;
  /** What one direction holds that was written and not read, in bytes. */
  readonly bufferBytes: Bounds;
  /** In pieces of what sizes bytes arrive. */
  readonly pieceBytes: Bounds;
  /** How often one side's reader is slow, and the greatest pause between two of its reads. */
  readonly slow: { readonly chance: number; readonly gapMs: number };
  /** How often a connection is refused though somebody listens. */
  readonly refuse: number;
  /** How long a connection lasts on average until it is cut, in milliseconds; undefined for ever. */
  readonly cutAfterMs: number | undefined;
  /** How often one side of a cut connection is told nothing: it finds out by itself, if ever. */
  readonly silentCut: number;
  /** After how long a cut is told, at most, in milliseconds. */
  readonly noticeMs: number;
  /** After how long without an answer a kernel gives a connection up, in milliseconds. */
  readonly giveUpMs: Bounds;
}

/** A network as it is between two machines of one rack. */
export const CALM: NetworkFaults = {
  delayMs: [0.05, 1],
  bufferBytes: [65_536, 4_194_304],
  pieceBytes: [1024, 131_072],
  slow: { chance: 0, gapMs: 0 },
  refuse: 0,
  cutAfterMs: undefined,
  silentCut: 0,
  noticeMs: 10,
  giveUpMs: [20_000, 60_000],
};

/** Some bytes, few only seldom: a simulation of single bytes takes as long as a hundred others. */
function atMost(prng: Prng, most: number): Bounds {
  return [1, Math.round(prng.magnitude(prng.chance(0.05) ? 1 : 500, most))];
}

/** Each kind of fault is there or not: some only show where others don't get in their way. */
export function drawFaults(prng: Prng): NetworkFaults {
  const is = () => prng.chance(0.5);
  return {
    delayMs: is() ? [0, prng.magnitude(1, 2000)] : CALM.delayMs,
    bufferBytes: is() ? atMost(prng, 65_536) : CALM.bufferBytes,
    pieceBytes: is() ? atMost(prng, 65_536) : CALM.pieceBytes,
    slow: is() ? { chance: prng.fraction(), gapMs: prng.magnitude(1, 1000) } : CALM.slow,
    refuse: is() ? prng.fraction() * 0.5 : CALM.refuse,
    cutAfterMs: is() ? prng.magnitude(500, 60_000) : undefined,
    silentCut: is() ? prng.fraction() : CALM.silentCut,
    noticeMs: prng.magnitude(1, 5000),
    giveUpMs: is() ? [5000, prng.magnitude(5000, 120_000)] : CALM.giveUpMs,
  };
}
