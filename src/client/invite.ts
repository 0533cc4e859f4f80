/** Invites: all that another person needs, as one word to hand over a channel that is private. */
import { EXIT, ExitError } from "../cli/exit.ts";
import { type Endpoint, endpoint } from "../cli/values.ts";
import { ROOM_KEY_BYTES } from "../protocol/keys.ts";
import { roomProblem } from "./text.ts";

const PREFIX = "vcc-invite-1.";

export interface Invite {
  readonly endpoint: Endpoint;
  readonly room: string;
  readonly roomKey: Uint8Array;
  /** The relay speaks TLS. */
  readonly tls: boolean;
}

/** host, port and room as JSON before the key: `vcc-invite-1.BASE64URL.BASE64URL`. */
export function encodeInvite({ endpoint: { host, port }, room, roomKey, tls }: Invite): string {
  const facts = { host, port, room, ...(tls ? { tls } : {}) };
  const where = Buffer.from(JSON.stringify(facts)).toString("base64url");
  return `${PREFIX}${where}.${Buffer.from(roomKey).toString("base64url")}`;
}

/** @throws ExitError DATAERR for what is no invite */
export function decodeInvite(text: string): Invite {
  const bad = new ExitError(
    EXIT.DATAERR,
    `that is no invite: it begins with ${PREFIX} and is one word`,
  );
  const [, where, key] = text.trim().match(/^vcc-invite-1\.([\w-]{1,1000})\.([\w-]{43})$/) ?? [];
  if (where === undefined || key === undefined) throw bad;
  let parsed: unknown;
  try {
    parsed = JSON.parse(Buffer.from(where, "base64url").toString());
  } catch {
    throw bad;
  }
  if (typeof parsed !== "object" || parsed === null) throw bad;
  const { host, port, room, tls } = parsed as Record<string, unknown>;
  if (typeof host !== "string" || typeof port !== "number" || typeof room !== "string") throw bad;
  if (roomProblem(room) !== undefined) throw bad;
  const roomKey = new Uint8Array(Buffer.from(key, "base64url"));
  if (roomKey.length !== ROOM_KEY_BYTES) throw bad;
  // The host goes through the same check as one from the command line.
  return {
    endpoint: endpoint(host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`),
    room,
    roomKey,
    tls: tls === true,
  };
}
