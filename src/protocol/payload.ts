/**
 * What an envelope holds (docs/protocol.md, "Payload"): who says what when, padded so that the
 * length of an entry tells little.
 */
import { ProtocolError } from "./errors.ts";
import { copyOf, readU16, readU64, writeU16, writeU64 } from "./frame.ts";

export const KINDS = ["text", "action", "join", "leave", "here", "nick"] as const;
export type Kind = (typeof KINDS)[number];

/** Bytes of the random number that stands for one run of a client. */
export const SENDER_BYTES = 16;
export const MAX_NICK_BYTES = 64;
/** Greatest length of a message's text, in bytes of UTF-8. */
export const MAX_TEXT_BYTES = 32_000;

const FIXED_BYTES = 1 + 8 + SENDER_BYTES + 8 + 1 + 2;
/** Padded sizes are one less than a power of two, so that PKCS #7 fills the power exactly. */
const SMALLEST_BUCKET = 128;
export const LARGEST_BUCKET = 32_768;

export interface Payload {
  readonly kind: Kind;
  /** The sender's clock, in milliseconds since 1970. */
  readonly time: number;
  readonly sender: Uint8Array;
  /** Rises by one with each text, action and nick of a sender, from 1; 0 for the others. */
  readonly number: number;
  readonly nick: string;
  /** The text; for "nick" the former nick; else empty. */
  readonly text: string;
}

/** The size that a payload of `bytes` bytes is padded to, in bytes. */
export function paddedBytes(bytes: number): number {
  let bucket = SMALLEST_BUCKET;
  while (bucket - 1 < bytes) bucket *= 2;
  return bucket - 1;
}

/**
 * The longest text, in bytes, that goes with a nick of `nickBytes` bytes into a ciphertext of at
 * most `ciphertextBytes` bytes.
 */
export function largestText(ciphertextBytes: number, nickBytes: number): number {
  let bucket = SMALLEST_BUCKET;
  while (bucket * 2 <= Math.min(ciphertextBytes, LARGEST_BUCKET)) bucket *= 2;
  return Math.min(MAX_TEXT_BYTES, bucket - 1 - FIXED_BYTES - nickBytes);
}

const encoder = new TextEncoder();
const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/**
 * Writes a payload with its padding at `at`.
 * @returns the padded length in bytes
 * @throws RangeError for a nick or a text that is too long: callers check before
 */
export function encodePayload(payload: Payload, buffer: Uint8Array, at: number): number {
  const nick = encoder.encode(payload.nick);
  const text = encoder.encode(payload.text);
  if (nick.length > MAX_NICK_BYTES || text.length > MAX_TEXT_BYTES) {
    throw new RangeError(`a nick of ${nick.length} or a text of ${text.length} bytes is too long`);
  }
  const used = FIXED_BYTES + nick.length + text.length;
  const padded = paddedBytes(used);
  let p = at;
  buffer[p++] = KINDS.indexOf(payload.kind) + 1;
  writeU64(buffer, p, payload.time);
  p += 8;
  buffer.set(payload.sender, p);
  p += SENDER_BYTES;
  writeU64(buffer, p, payload.number);
  p += 8;
  buffer[p++] = nick.length;
  buffer.set(nick, p);
  p += nick.length;
  writeU16(buffer, p, text.length);
  p += 2;
  buffer.set(text, p);
  p += text.length;
  buffer.fill(0, p, at + padded);
  return padded;
}

/**
 * Reads the payload in [`start`, `end`), padding and all.
 * @throws ProtocolError "malformed"
 */
export function decodePayload(buffer: Uint8Array, start: number, end: number): Payload {
  const bytes = buffer.subarray(start, end);
  const bad = (what: string) => new ProtocolError("malformed", `a payload ${what}`);
  if (bytes.length < SMALLEST_BUCKET - 1) throw bad("that is too short");
  const kind = KINDS[(bytes[0] as number) - 1];
  if (kind === undefined) throw bad(`of the unknown kind ${bytes[0]}`);
  const nickAt = FIXED_BYTES - 2;
  const nickEnd = nickAt + (bytes[nickAt - 1] as number);
  if (nickEnd - nickAt > MAX_NICK_BYTES) throw bad("whose nick is too long");
  const textAt = nickEnd + 2;
  const textEnd = textAt + readU16(bytes, nickEnd);
  if (textEnd > bytes.length || bytes.length !== paddedBytes(textEnd)) {
    throw bad("whose lengths do not fit");
  }
  if (bytes.subarray(textEnd).some((byte) => byte !== 0)) throw bad("with dirty padding");
  try {
    return {
      kind,
      time: readU64(bytes, 1),
      sender: copyOf(bytes, 9, 9 + SENDER_BYTES),
      number: readU64(bytes, 9 + SENDER_BYTES),
      nick: decoder.decode(bytes.subarray(nickAt, nickEnd)),
      text: decoder.decode(bytes.subarray(textAt, textEnd)),
    };
  } catch (error) {
    if (error instanceof ProtocolError) throw error;
    throw bad("that is not UTF-8");
  }
}
