/** Everything that bounds what clients can cost the relay (docs/protocol.md, "Limits"). */
import { readFileSync } from "node:fs";
import { EXIT, ExitError } from "../cli/exit.ts";
import { wholeNumber } from "../cli/values.ts";
import { MAX_FRAME } from "../protocol/frame.ts";

export interface Limits {
  /** Greatest length field of a client's frame, in bytes. */
  readonly maxFrame: number;
  /** What a room's newest entries may take in memory, in bytes. */
  readonly ringBytes: number;
  /** What those of all rooms may take together, in bytes; each has room for one entry in any case. */
  readonly memoryBytes: number;
  /** Rooms, with or without members. */
  readonly maxRooms: number;
  /** An empty room is forgotten after so long, in seconds. */
  readonly roomSeconds: number;
  /** Connections in all. */
  readonly maxConnections: number;
  /** Connections from one address (IPv6: one /64). */
  readonly maxPerAddress: number;
  /** Time for a HELLO to come, in seconds. */
  readonly handshakeSeconds: number;
  /** A silent connection is pinged after so long and closed after twice as long, in seconds. */
  readonly pingSeconds: number;
  /** Messages a second from one client, lastingly; 0 for any number. */
  readonly rate: number;
  /** Bytes a second from one client, lastingly; 0 for any number. */
  readonly byteRate: number;
}

export const DEFAULT_LIMITS: Limits = {
  maxFrame: MAX_FRAME,
  ringBytes: 1 << 20,
  memoryBytes: 256 << 20,
  maxRooms: 1024,
  roomSeconds: 3600,
  maxConnections: 10_000,
  maxPerAddress: 256,
  handshakeSeconds: 10,
  pingSeconds: 30,
  rate: 1000,
  byteRate: 1 << 20,
};

const DAY = 86_400;

/** The options of the command line that are limits: which one, its least and its greatest value. */
export const LIMIT_OPTIONS = {
  "ring-bytes": ["ringBytes", 4096, 2 ** 31],
  memory: ["memoryBytes", 1 << 20, 2 ** 40],
  "max-frame": ["maxFrame", 1024, MAX_FRAME],
  "max-rooms": ["maxRooms", 1, 1_000_000],
  "room-ttl": ["roomSeconds", 0, 365 * DAY],
  "max-connections": ["maxConnections", 1, 1_000_000],
  "max-per-address": ["maxPerAddress", 1, 1_000_000],
  "handshake-timeout": ["handshakeSeconds", 1, DAY],
  ping: ["pingSeconds", 1, 3600],
  rate: ["rate", 0, 1e9],
  "byte-rate": ["byteRate", 0, 2 ** 40],
} as const satisfies Record<string, readonly [keyof Limits, number, number]>;

export type LimitOption = keyof typeof LIMIT_OPTIONS;
const OPTIONS = Object.keys(LIMIT_OPTIONS) as LimitOption[];

/** Limits from the texts of their options. @throws ExitError USAGE that names the option */
export function limitsFrom(texts: Readonly<Record<LimitOption, string>>): Limits {
  const values = OPTIONS.map((option) => {
    const [name, least, greatest] = LIMIT_OPTIONS[option];
    return [name, wholeNumber(option, texts[option], least, greatest)];
  });
  const limits = Object.fromEntries(values) as unknown as Limits;
  if (limits.ringBytes < 4 * limits.maxFrame) {
    throw new ExitError(
      EXIT.USAGE,
      `--ring-bytes must be at least 4 times --max-frame (${4 * limits.maxFrame})`,
    );
  }
  return limits;
}

/**
 * The texts of limits in a file: lines of "option value", as on the command line without its dashes.
 * Empty lines and those that begin with # say nothing.
 * @throws ExitError NOINPUT, DATAERR that names the line
 */
export function readLimitsFile(path: string): Partial<Record<LimitOption, string>> {
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch (error) {
    throw new ExitError(EXIT.NOINPUT, `can't read --limits-file ${path}: ${error}`);
  }
  const texts: Partial<Record<LimitOption, string>> = {};
  for (const [i, line] of text.split("\n").entries()) {
    const words = line.trim().split(/\s+/);
    const [option = "", value] = words;
    if (option === "" || option.startsWith("#")) continue;
    const known = OPTIONS.find((name) => name === option);
    if (known === undefined || value === undefined || words.length > 2) {
      const what = `${path}, line ${i + 1}: not "OPTION VALUE" with one of ${OPTIONS.join(", ")}`;
      throw new ExitError(EXIT.DATAERR, what);
    }
    texts[known] = value;
  }
  return texts;
}
