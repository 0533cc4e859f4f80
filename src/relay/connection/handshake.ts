/** From HELLO to WELCOME: where in the room's log a client begins (docs/protocol.md, "Handshake"). */
import { encodeWelcome, type Hello, negotiate } from "../../protocol/messages.ts";
import type { Limits } from "../limits.ts";
import type { Log } from "../log/log.ts";

export interface Beginning {
  /** The WELCOME frame. */
  readonly welcome: Uint8Array;
  /** Number of the first entry that the client wants. */
  readonly wanted: number;
  /** Number of the first one that can be had; what lies between is missing. */
  readonly start: number;
}

/**
 * @param connection the relay's number for it
 * @param known whether all that this client was sent before is known to be in the log, if it still is
 */
export function begin(
  hello: Hello,
  log: Log,
  connection: number,
  known: boolean,
  limits: Limits,
): Beginning {
  const { oldest } = log;
  const { next } = log.ring;
  const sameLog = continues(hello, log, known);
  const wanted = firstWanted(hello, oldest, next, sameLog);
  const start = Math.max(wanted, oldest);
  const welcome = encodeWelcome({
    version: negotiate(hello.minVersion, hello.maxVersion),
    newLog: !sameLog,
    logId: log.id,
    oldest,
    next,
    start,
    connection,
    maxFrame: limits.maxFrame,
    pingSeconds: limits.pingSeconds,
  });
  return { welcome, wanted, start };
}

/** Whether the client can go on in this log: false where it has read another, or more than there is. */
function continues({ start }: Hello, log: Log, known: boolean): boolean {
  if (start.kind !== "after") return true;
  if (Buffer.compare(start.logId, log.id) !== 0) return false;
  return start.seq < log.ring.next || !known;
}

function firstWanted({ start }: Hello, oldest: number, next: number, sameLog: boolean): number {
  switch (start.kind) {
    case "now":
      return next;
    case "last":
      return Math.max(oldest, next - Math.min(start.count, next));
    case "after":
      return sameLog ? Math.min(start.seq + 1, next) : oldest;
  }
}
