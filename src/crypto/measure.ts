/** How fast a device seals and opens messages of each size beside software, measured at start. */
import { type Backend, DeviceError, KEY_BYTES, type KeyPair } from "./backend.ts";
import { agree } from "./selftest.ts";
import { IV_BYTES, TAG_BYTES } from "./suite.ts";

/** Ciphertexts that are measured, in bytes; what lies between two goes by the larger one. */
export const SIZES = [256, 1024, 4096, 16_384, 32_768] as const;
/** Associated data of an envelope, in bytes. */
const ASSOCIATED_BYTES = 108;
/** Runs of each contender with each size. */
const RUNS = 7;
/** With fewer runs than that, what happened in between could have been anything. */
const LEAST_RUNS = 3;
/** No run begins later than so long after the beginning, in milliseconds. */
const PATIENCE_MS = 150;
/** A device of which that is seen is measured no further. */
const HOPELESS = 0.5;

export interface Measured {
  /** The largest ciphertext that it holds for, in bytes. */
  readonly bytes: number;
  /** How many times as fast as software the device is, or that it took too long to find out. */
  readonly ratio: number | "unknown";
}

/**
 * Measures `device` beside `software`, in a few milliseconds where the device is any good.
 * @param now a clock, in milliseconds
 * @returns one for each of SIZES, in their order
 * @throws DeviceError where the device fails, or has other answers than software
 */
export function measure(software: Backend, device: Backend, now: () => number): Measured[] {
  const key = () => crypto.getRandomValues(new Uint8Array(KEY_BYTES));
  const [encryptionKey, macKey] = [key(), key()];
  const until = now() + PATIENCE_MS;
  const soft = software.open(encryptionKey, macKey);
  try {
    const hard = device.open(encryptionKey, macKey);
    try {
      // The largest first: a device that is slow there is not worth more time.
      const results = SIZES.toReversed().map((bytes) => {
        if (now() >= until) return { bytes, ratio: "unknown" as const };
        // Untimed: it warms both up.
        if (!agree(hard, soft, bytes)) {
          throw new DeviceError(`${device.description}: wrong answer with ${bytes} bytes`);
        }
        return { bytes, ratio: compareSpeed(soft, hard, bytes, now, until) };
      });
      return results.reverse();
    } finally {
      hard.close();
    }
  } finally {
    soft.close();
  }
}

/** Each in turn and each first in turn, so that a busy machine is busy for both. */
function compareSpeed(
  soft: KeyPair,
  hard: KeyPair,
  bytes: number,
  now: () => number,
  until: number,
): number | "unknown" {
  const buffer = message(bytes);
  const time = (keys: KeyPair) => {
    const began = now();
    const end = keys.seal(buffer, 0, ASSOCIATED_BYTES, bytes - 1);
    keys.open(buffer, 0, ASSOCIATED_BYTES, end);
    return now() - began;
  };
  const times = { soft: [] as number[], hard: [] as number[] };
  let result: number | "unknown" = "unknown";
  for (let run = 0; run < RUNS && now() < until; run++) {
    if (run % 2 === 0) times.soft.push(time(soft));
    times.hard.push(time(hard));
    if (run % 2 === 1) times.soft.push(time(soft));
    if (run + 1 < LEAST_RUNS) continue;
    result = ratio(times);
    if (result < HOPELESS) break;
  }
  return result;
}

interface Times {
  readonly soft: readonly number[];
  readonly hard: readonly number[];
}

/** Of the medians; and no more than of the fastest, which others' work has held up least. */
function ratio({ soft, hard }: Times): number {
  // A clock may be too coarse to see a device work.
  const of = (pick: (times: readonly number[]) => number) =>
    pick(soft) / Math.max(pick(hard), Number.EPSILON);
  return Math.min(of(median), of(fastest));
}

function fastest(times: readonly number[]): number {
  return Math.min(...times);
}

/** A message that is `bytes` bytes when it is encrypted. */
function message(bytes: number): Uint8Array {
  return new Uint8Array(ASSOCIATED_BYTES + IV_BYTES + bytes + TAG_BYTES);
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[values.length >> 1] as number;
}
