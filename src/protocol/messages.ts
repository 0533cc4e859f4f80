/**
 * The bodies of the frames that are not log entries (docs/protocol.md, "Handshake" and after).
 * Every decoder checks its whole input and throws ProtocolError "malformed".
 */
import { CODES, type CodeName, ProtocolError } from "./errors.ts";
import {
  copyOf,
  encodeFrame,
  FrameType,
  readU16,
  readU32,
  readU64,
  writeU16,
  writeU32,
  writeU64,
} from "./frame.ts";
import { ACCESS_BYTES } from "./keys.ts";

/** The protocol versions that this program speaks. */
export const VERSION = { min: 1, max: 1 } as const;

/** "VCC1": the first bytes of every HELLO, so that other protocols are told at once. */
const MAGIC = 0x56434331;

export const ROOM_ID_BYTES = 32;
export const TOKEN_BYTES = 16;
export const LOG_ID_BYTES = 16;
const HELLO_BYTES = 4 + 2 + 2 + ROOM_ID_BYTES + TOKEN_BYTES + 1 + LOG_ID_BYTES + 8;
const WELCOME_BYTES = 2 + 1 + LOG_ID_BYTES + 8 * 3 + 4 + 4 + 2;

/** Where in the room's log a client begins. */
export type Start =
  | { readonly kind: "now" }
  | { readonly kind: "last"; readonly count: number }
  | { readonly kind: "after"; readonly logId: Uint8Array; readonly seq: number };

const START_KINDS = ["now", "last", "after"] as const;

/** A client's first frame. */
export interface Hello {
  readonly minVersion: number;
  readonly maxVersion: number;
  /** Opaque to the relay, 32 bytes. */
  readonly roomId: Uint8Array;
  /** Secret of one client process, 16 bytes: a later connection with it replaces this one. */
  readonly token: Uint8Array;
  readonly start: Start;
  /** For a relay that lets in only some: 32 bytes (docs/protocol.md, "Access"). */
  readonly access?: Uint8Array;
}

/** The relay's answer to a HELLO that it accepts. */
export interface Welcome {
  readonly version: number;
  /** True when the log that the client wants to go on in is not this one: it began anew. */
  readonly newLog: boolean;
  readonly logId: Uint8Array;
  /** Sequence number of the oldest entry that is still held. */
  readonly oldest: number;
  /** Sequence number that the next entry will get. */
  readonly next: number;
  /** Sequence number of the first entry that this client will be sent. */
  readonly start: number;
  /** The relay's number for this connection: `from` in the entries that it sends. */
  readonly connection: number;
  /** Greatest length field that the relay accepts, in bytes. */
  readonly maxFrame: number;
  /** The relay pings a connection that was silent for so long, in seconds. */
  readonly pingSeconds: number;
}

export function encodeHello(hello: Hello): Uint8Array {
  const body = new Uint8Array(HELLO_BYTES + (hello.access?.length ?? 0));
  writeU32(body, 0, MAGIC);
  writeU16(body, 4, hello.minVersion);
  writeU16(body, 6, hello.maxVersion);
  body.set(hello.roomId, 8);
  body.set(hello.token, 40);
  body[56] = START_KINDS.indexOf(hello.start.kind);
  if (hello.start.kind === "after") {
    body.set(hello.start.logId, 57);
    writeU64(body, 73, hello.start.seq);
  } else if (hello.start.kind === "last") {
    writeU64(body, 73, hello.start.count);
  }
  if (hello.access !== undefined) body.set(hello.access, HELLO_BYTES);
  return encodeFrame(FrameType.HELLO, body);
}

/** Decodes a HELLO's body. The arrays in the result are copies. */
export function decodeHello(body: Uint8Array): Hello {
  if (body.length < 8 || readU32(body, 0) !== MAGIC) {
    throw new ProtocolError("malformed", "not a chat client's HELLO");
  }
  const minVersion = readU16(body, 4);
  const maxVersion = readU16(body, 6);
  // The rest of a HELLO may differ in another version: negotiate before reading on.
  negotiate(minVersion, maxVersion);
  if (body.length !== HELLO_BYTES && body.length !== HELLO_BYTES + ACCESS_BYTES) {
    throw new ProtocolError(
      "malformed",
      `a HELLO of ${body.length} bytes, not ${HELLO_BYTES} or ${HELLO_BYTES + ACCESS_BYTES}`,
    );
  }
  const number = readU64(body, 73);
  return {
    minVersion,
    maxVersion,
    roomId: copyOf(body, 8, 40),
    token: copyOf(body, 40, 56),
    start: decodeStart(body[56] as number, copyOf(body, 57, 57 + LOG_ID_BYTES), number),
    ...(body.length > HELLO_BYTES ? { access: copyOf(body, HELLO_BYTES) } : {}),
  };
}

function decodeStart(kind: number, logId: Uint8Array, number: number): Start {
  switch (START_KINDS[kind]) {
    case "now":
      return { kind: "now" };
    case "last":
      return { kind: "last", count: number };
    case "after":
      return { kind: "after", logId, seq: number };
    default:
      throw new ProtocolError("malformed", `start ${kind} is none of 0, 1, 2`);
  }
}

/**
 * The highest version that both sides speak.
 * @throws ProtocolError "version" where there is none.
 */
export function negotiate(min: number, max: number): number {
  const version = Math.min(max, VERSION.max);
  if (min > max || version < Math.max(min, VERSION.min)) {
    throw new ProtocolError(
      "version",
      `the client speaks protocol versions ${min} to ${max}, this relay ${VERSION.min} to ${VERSION.max}`,
    );
  }
  return version;
}

export function encodeWelcome(welcome: Welcome): Uint8Array {
  const body = new Uint8Array(WELCOME_BYTES);
  writeU16(body, 0, welcome.version);
  body[2] = welcome.newLog ? 1 : 0;
  body.set(welcome.logId, 3);
  writeU64(body, 19, welcome.oldest);
  writeU64(body, 27, welcome.next);
  writeU64(body, 35, welcome.start);
  writeU32(body, 43, welcome.connection);
  writeU32(body, 47, welcome.maxFrame);
  writeU16(body, 51, welcome.pingSeconds);
  return encodeFrame(FrameType.WELCOME, body);
}

export function decodeWelcome(body: Uint8Array): Welcome {
  if (body.length !== WELCOME_BYTES) {
    throw new ProtocolError("malformed", `a WELCOME of ${body.length} bytes, not ${WELCOME_BYTES}`);
  }
  return {
    version: readU16(body, 0),
    newLog: (body[2] as number) !== 0,
    logId: copyOf(body, 3, 19),
    oldest: readU64(body, 19),
    next: readU64(body, 27),
    start: readU64(body, 35),
    connection: readU32(body, 43),
    maxFrame: readU32(body, 47),
    pingSeconds: readU16(body, 51),
  };
}

/** Lays out a PING or PONG frame; a PONG returns the PING's 8 bytes. */
export function encodePing(
  type: typeof FrameType.PING | typeof FrameType.PONG,
  nonce: Uint8Array,
): Uint8Array {
  return encodeFrame(type, nonce);
}

/** Tells one client that entries `first` … `first + count - 1` were gone before it read them. */
export interface Missed {
  readonly first: number;
  readonly count: number;
}

export function encodeMissed(missed: Missed): Uint8Array {
  const body = new Uint8Array(16);
  writeU64(body, 0, missed.first);
  writeU64(body, 8, missed.count);
  return encodeFrame(FrameType.MISSED, body);
}

export function decodeMissed(body: Uint8Array): Missed {
  if (body.length !== 16) {
    throw new ProtocolError("malformed", `a MISSED of ${body.length} bytes, not 16`);
  }
  return { first: readU64(body, 0), count: readU64(body, 8) };
}

/** A code and a sentence for people: the body of NOTICE (goes on) and CLOSE (ends). */
export interface Remark {
  readonly code: number;
  readonly text: string;
}

/** Greatest length of a remark's text, in bytes of UTF-8. */
const MAX_REMARK = 512;

export function encodeRemark(
  type: typeof FrameType.NOTICE | typeof FrameType.CLOSE,
  code: CodeName,
  text: string,
): Uint8Array {
  const utf8 = Buffer.from(text).subarray(0, MAX_REMARK);
  const body = new Uint8Array(2 + utf8.length);
  writeU16(body, 0, CODES[code]);
  body.set(utf8, 2);
  return encodeFrame(type, body);
}

export function decodeRemark(body: Uint8Array): Remark {
  if (body.length < 2 || body.length > 2 + MAX_REMARK) {
    throw new ProtocolError("malformed", `a remark of ${body.length} bytes`);
  }
  return { code: readU16(body, 0), text: new TextDecoder().decode(body.subarray(2)) };
}
