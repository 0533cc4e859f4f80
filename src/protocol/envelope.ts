/**
 * The sealed envelope (docs/protocol.md, "Envelope"): the body of every SEND and ENTRY.
 *
 *   version u8 | type u8 | reserved u16 | salt (32) | counter u64 | IV (16) | ciphertext | tag (32)
 *
 * Associated data is a label, the room's id and everything before the IV; so an envelope is good
 * in its room, its session and its place in that session only.
 */
import type { Backend, KeyPair } from "../crypto/backend.ts";
import { ciphertextBytes, IV_BYTES, TAG_BYTES } from "../crypto/suite.ts";
import { type Runtime, SYSTEM } from "../runtime.ts";
import { readU64, writeU64 } from "./frame.ts";
import { SALT_BYTES, sessionKeys } from "./keys.ts";
import { ROOM_ID_BYTES } from "./messages.ts";
import { LARGEST_BUCKET } from "./payload.ts";

/** Version and type of an envelope, the only ones there are. */
const ENVELOPE_VERSION = 1;
const TYPE_CHAT = 1;

const HEADER_BYTES = 4 + SALT_BYTES + 8;
const COUNTER_AT = 4 + SALT_BYTES;
const LABEL = new TextEncoder().encode("virtio-cryptodev-chat 1 envelope");
const HEADER_AT = LABEL.length + ROOM_ID_BYTES;
const IV_AT = HEADER_AT + HEADER_BYTES;
/** Where a payload goes in a session's buffer, in bytes. */
export const PAYLOAD_AT = IV_AT + IV_BYTES;
const BUFFER_BYTES = PAYLOAD_AT + LARGEST_BUCKET + TAG_BYTES;

/** Bytes of an envelope besides its ciphertext. */
export const ENVELOPE_OVERHEAD_BYTES = HEADER_BYTES + IV_BYTES + TAG_BYTES;
/** Smallest and greatest length of an envelope, in bytes. */
export const MIN_ENVELOPE_BYTES = HEADER_BYTES + IV_BYTES + ciphertextBytes(1) + TAG_BYTES;
export const MAX_ENVELOPE_BYTES = BUFFER_BYTES - HEADER_AT;

function roomBuffer(room: Uint8Array): Uint8Array {
  const buffer = new Uint8Array(BUFFER_BYTES);
  buffer.set(LABEL);
  buffer.set(room, LABEL.length);
  return buffer;
}

function openKeys(
  backend: Backend,
  roomKey: Uint8Array,
  room: Uint8Array,
  salt: Uint8Array,
): KeyPair {
  const keys = sessionKeys(roomKey, room, salt);
  try {
    return backend.open(keys.encryptionKey, keys.macKey);
  } finally {
    keys.encryptionKey.fill(0);
    keys.macKey.fill(0);
  }
}

/** Seals what one connection sends, counting from 0. */
export class SealingSession {
  readonly salt: Uint8Array;
  readonly #keys: KeyPair;
  readonly #buffer: Uint8Array;
  readonly #random: Runtime["random"];
  #counter = 0;

  /** @param random where the salt and every IV come from: nobody may guess them or see one twice */
  constructor(
    backend: Backend,
    roomKey: Uint8Array,
    room: Uint8Array,
    random: Runtime["random"] = SYSTEM.random,
  ) {
    this.#random = random;
    this.salt = random(new Uint8Array(SALT_BYTES));
    this.#keys = openKeys(backend, roomKey, room, this.salt);
    this.#buffer = roomBuffer(room);
    this.#buffer[HEADER_AT] = ENVELOPE_VERSION;
    this.#buffer[HEADER_AT + 1] = TYPE_CHAT;
    this.#buffer.set(this.salt, HEADER_AT + 4);
  }

  /**
   * Seals what `write` lays out at PAYLOAD_AT of the buffer that it is given.
   * @param write returns the payload's length in bytes
   * @returns the envelope: a view, valid until the next call
   */
  seal(write: (buffer: Uint8Array, at: number) => number): Uint8Array {
    const length = write(this.#buffer, PAYLOAD_AT);
    writeU64(this.#buffer, HEADER_AT + COUNTER_AT, this.#counter);
    this.#random(this.#buffer.subarray(IV_AT, PAYLOAD_AT));
    const end = this.#keys.seal(this.#buffer, 0, IV_AT, length);
    this.#counter += 1;
    return this.#buffer.subarray(HEADER_AT, end);
  }

  close(): void {
    this.#keys.close();
    this.#buffer.fill(0);
  }
}

/** What can be said of an envelope. */
export type Opened =
  /** Authentic and new; `skipped` envelopes of its session did not come before it. */
  | {
      readonly verdict: "ok";
      readonly session: string;
      readonly skipped: number;
      /** The payload lies at [PAYLOAD_AT, `end`) of `buffer`, until the next call. */
      readonly buffer: Uint8Array;
      readonly end: number;
    }
  /** Authentic, but not newer than what came before: repeated or out of order. */
  | { readonly verdict: "replayed"; readonly session: string }
  /** Not sealed with this room's key, or altered. */
  | { readonly verdict: "forged" };

interface Incoming {
  readonly keys: KeyPair;
  next: number;
  /** A gap is the relay's log having moved on, which it has told. */
  gapExcused: boolean;
}

/** Sessions whose keys and counters are kept; the one unused for longest gives way. */
const MAX_SESSIONS = 1024;

/** Opens what others, and this client itself, have sealed in one room. */
export class OpeningSessions {
  readonly #backend: Backend;
  readonly #roomKey: Uint8Array;
  readonly #room: Uint8Array;
  readonly #buffer: Uint8Array;
  /** By salt in hex, the one used last at the end. */
  readonly #sessions = new Map<string, Incoming>();

  constructor(backend: Backend, roomKey: Uint8Array, room: Uint8Array) {
    this.#backend = backend;
    this.#roomKey = roomKey;
    this.#room = room;
    this.#buffer = roomBuffer(room);
  }

  /** Opens one envelope. A session's first one seen says where its counter stands. */
  open(envelope: Uint8Array): Opened {
    const size = envelope.length;
    if (size < MIN_ENVELOPE_BYTES || size > MAX_ENVELOPE_BYTES) return { verdict: "forged" };
    this.#buffer.set(envelope, HEADER_AT);
    const salt = this.#buffer.subarray(HEADER_AT + 4, HEADER_AT + COUNTER_AT);
    const session = Buffer.from(salt).toString("hex");
    const known = this.#sessions.get(session);
    const keys = known?.keys ?? openKeys(this.#backend, this.#roomKey, this.#room, salt);
    const length = this.#authentic() ? keys.open(this.#buffer, 0, IV_AT, HEADER_AT + size) : -1;
    if (length < 0) {
      if (known === undefined) keys.close();
      return { verdict: "forged" };
    }
    const counter = readU64(this.#buffer, HEADER_AT + COUNTER_AT);
    const incoming = known ?? { keys, next: counter, gapExcused: false };
    this.#touch(session, incoming);
    if (counter < incoming.next) return { verdict: "replayed", session };
    const skipped = incoming.gapExcused ? 0 : counter - incoming.next;
    incoming.next = counter + 1;
    incoming.gapExcused = false;
    return { verdict: "ok", session, skipped, buffer: this.#buffer, end: PAYLOAD_AT + length };
  }

  /** The header's constant fields; the counter must be one that this program can count to. */
  #authentic(): boolean {
    const at = HEADER_AT;
    const b = this.#buffer;
    const constants =
      b[at] === ENVELOPE_VERSION && b[at + 1] === TYPE_CHAT && b[at + 2] === 0 && b[at + 3] === 0;
    return (
      constants && ((b[at + COUNTER_AT] as number) << 8) + (b[at + COUNTER_AT + 1] as number) < 32
    );
  }

  /** The relay has told that entries are gone: the next gap of each session is no surprise. */
  excuseGaps(): void {
    for (const incoming of this.#sessions.values()) incoming.gapExcused = true;
  }

  #touch(session: string, incoming: Incoming): void {
    this.#sessions.delete(session);
    this.#sessions.set(session, incoming);
    if (this.#sessions.size <= MAX_SESSIONS) return;
    for (const [oldest, { keys }] of this.#sessions) {
      this.#sessions.delete(oldest);
      keys.close();
      return;
    }
  }

  /** Another log begins, in which entries of the former one may stand again: nothing is known of it. */
  forget(): void {
    for (const { keys } of this.#sessions.values()) keys.close();
    this.#sessions.clear();
  }

  close(): void {
    this.forget();
    this.#buffer.fill(0);
  }
}
