/** What one simulation is made of: all drawn from its seed beforehand, so that parts of it can be left out. */
import { DEFAULT_LIMITS, type Limits } from "../../src/relay/limits.ts";
import { FSYNC_POLICIES, type FsyncPolicy, type Keep } from "../../src/relay/log/disk/store.ts";
import type { Prng } from "./prng.ts";

export const KINDS = ["memory", "disk", "jetstream"] as const;
export type Kind = (typeof KINDS)[number];

/** What may be done to a world: on purpose by those who use it, or by what goes wrong. */
export const DEEDS = {
  /** Somebody says something, a few bytes or as much as goes into a frame. */
  say: ["memory", "disk", "jetstream"],
  /** Somebody says very much at once, the smallest entries among it. */
  burst: ["memory", "disk", "jetstream"],
  /** A client's process ends, and another takes its place. */
  restart: ["memory", "disk", "jetstream"],
  /** A client reads nothing for a while. */
  stall: ["memory", "disk", "jetstream"],
  /** Somebody reads the room's past. */
  history: ["memory", "disk", "jetstream"],
  /** A pest does what no client does. */
  pest: ["memory", "disk", "jetstream"],
  /** Connections are cut, some of them only one way. */
  cut: ["memory", "disk", "jetstream"],
  /** Nothing comes through for a while, and no connection knows. */
  partition: ["memory", "disk", "jetstream"],
  /** A machine's clock is set. */
  clock: ["memory", "disk", "jetstream"],
  /** A relay's process is killed, and started again after a while. */
  kill: ["memory", "disk", "jetstream"],
  /** A relay is told to end, and started again. */
  stop: ["memory", "disk", "jetstream"],
  powerCut: ["disk"],
  diskFull: ["disk"],
  /** Writes fail, and nothing of them is written. */
  diskErrors: ["disk"],
  /** Writes fail, and nobody knows what is written. */
  diskDoubt: ["disk"],
  syncErrors: ["disk"],
  /** The disk gives no answers for a while. */
  diskHang: ["disk"],
  damage: ["disk"],
  natsDown: ["jetstream"],
  /** The stream takes messages, or not, and its answers don't come. */
  lostAnswers: ["jetstream"],
  /** What failed to be published is published all the same, later. */
  lateLanding: ["jetstream"],
  lag: ["jetstream"],
  followerEnds: ["jetstream"],
  followerSilent: ["jetstream"],
  leaderChange: ["jetstream"],
  /** Somebody empties a room in the stream. */
  purge: ["jetstream"],
  dropStream: ["jetstream"],
} as const satisfies Record<string, readonly Kind[]>;

export type Deed = keyof typeof DEEDS;

export interface Action {
  /** Milliseconds since the beginning. */
  readonly at: number;
  readonly deed: Deed;
  /** Who or what, taken modulo how many there are. */
  readonly which: number;
  /** How much of it, from 0 to 1. */
  readonly much: number;
  /** How long it lasts, in milliseconds. */
  readonly ms: number;
}

export interface RoomPlan {
  /** Members that check every entry, or the real client with its encryption. */
  readonly type: "members" | "chats";
  readonly size: number;
}

export interface Plan {
  readonly seed: string;
  readonly kind: Kind;
  readonly fsync: FsyncPolicy;
  readonly keep: Keep;
  readonly relays: number;
  readonly limits: Limits;
  readonly rooms: readonly RoomPlan[];
  /** When faults end, in milliseconds. */
  readonly calmAt: number;
  readonly actions: readonly Action[];
}

const MIB = 1 << 20;

/** How often each deed is drawn, beside the others. */
const WEIGHTS: Partial<Record<Deed, number>> = { say: 40, burst: 4, history: 3, stall: 3, cut: 3 };
/** Deeds after which what was acknowledged may be gone: not in every world. */
const LOSSES: readonly Deed[] = ["damage", "purge", "dropStream"];

function drawKeep(prng: Prng, kind: Kind): Keep {
  if (kind === "memory" || prng.chance(0.6)) return { bytes: 0, entries: 0, seconds: 0 };
  return {
    bytes: prng.chance(0.3) ? prng.range(2000, 100_000) : 0,
    entries: prng.chance(0.3) ? prng.range(5, 300) : 0,
    seconds: prng.chance(0.6) ? prng.pick([5, 20, 60, 300]) : 0,
  };
}

function drawLimits(prng: Prng): Limits {
  const maxFrame = prng.pick([1024, 2048, 4096]);
  return {
    ...DEFAULT_LIMITS,
    maxFrame,
    ringBytes: maxFrame * prng.pick([4, 4, 8, 64]),
    memoryBytes: prng.pick([MIB / 8, MIB, 16 * MIB]),
    maxRooms: prng.range(4, 12),
    roomSeconds: prng.pick([0, 1, 10, 3600]),
    maxConnections: prng.pick([40, 1000]),
    maxPerAddress: 256,
    handshakeSeconds: prng.range(2, 10),
    pingSeconds: prng.range(2, 10),
    rate: prng.pick([0, 0, 100, 1000]),
    byteRate: prng.pick([0, 0, 20_000, MIB]),
  };
}

/** @param size how much happens, 1 for the usual */
export function drawPlan(prng: Prng, size = 1): Plan {
  const kind = prng.pick(KINDS);
  const losses = prng.chance(0.25);
  const calmAt = prng.range(10_000, 40_000);
  const quiet = prng.chance(0.1);
  const deeds = (Object.keys(DEEDS) as Deed[]).filter(
    (deed) => (DEEDS[deed] as readonly Kind[]).includes(kind) && (losses || !LOSSES.includes(deed)),
  );
  // Each world has some kinds of fault and not others, so that each is seen alone too.
  const used = deeds.filter(
    (deed) => deed === "say" || deed === "burst" || (!quiet && prng.chance(0.5)),
  );
  const weighted = used.flatMap((deed) => Array<Deed>(WEIGHTS[deed] ?? 2).fill(deed));
  const count = Math.round(prng.range(20, 80) * size);
  const actions = Array.from({ length: count }, () => ({
    at: prng.range(0, calmAt),
    deed: prng.pick(weighted),
    which: prng.int(1 << 16),
    much: prng.fraction(),
    ms: Math.round(prng.magnitude(10, 15_000)),
  })).sort((a, b) => a.at - b.at);
  const rooms = Array.from({ length: prng.range(1, 3) }, () => ({
    type: prng.chance(0.7) ? ("members" as const) : ("chats" as const),
    size: prng.range(1, 4),
  }));
  return {
    seed: prng.seed,
    kind,
    fsync: prng.pick(FSYNC_POLICIES),
    keep: drawKeep(prng, kind),
    relays: kind === "jetstream" ? prng.range(1, 3) : 1,
    limits: drawLimits(prng),
    rooms,
    calmAt,
    actions,
  };
}
