/** What a connection must have done by when: said HELLO, been let in, given a sign of life, closed. */
import { GoneReason } from "../protocol/entry.ts";
import type { Connection } from "./connection/connection.ts";
import type { Limits } from "./limits.ts";

/** How long a client may take to close its side after a CLOSE, in milliseconds. */
export const LINGER_MS = 2000;

/**
 * Looks at one connection; called about once a second.
 * @param now milliseconds on the relay's clock
 * @returns false where its room could not be had in time: then something is wrong with what keeps it
 */
export function checkDeadlines(connection: Connection, now: number, limits: Limits): boolean {
  const { handshakeSeconds, pingSeconds } = limits;
  const late = (since: number) => now - since > handshakeSeconds * 1000;
  switch (connection.state) {
    case "closing":
      if (now - connection.closingAt > LINGER_MS) connection.terminate();
      return true;
    case "hello":
      if (late(connection.openedAt)) {
        connection.close("handshake-timeout", `no HELLO within ${handshakeSeconds} s`);
      }
      return true;
    case "joining": {
      if (!late(connection.joiningAt)) return true;
      const why = `the room could not be had within ${handshakeSeconds} s; try again later`;
      connection.close("storage", why);
      return false;
    }
    case "open":
      if (connection.unread) connection.heardAt = now;
      else if (now - connection.heardAt > pingSeconds * 1000) {
        checkAlive(connection, now, pingSeconds);
      }
      return true;
    case "closed":
      return true;
  }
}

/** Pings a silent client once; closes it when that brought no sign of life either. */
function checkAlive(connection: Connection, now: number, pingSeconds: number): void {
  if (connection.pingedAt < connection.heardAt) {
    connection.ping(now);
  } else if (now - connection.pingedAt > pingSeconds * 1000) {
    connection.goneReason = GoneReason.TIMEOUT;
    connection.close("idle-timeout", `no answer to a ping within ${pingSeconds} s`);
  }
}
