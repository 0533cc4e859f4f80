/**
 * The key schedule (docs/protocol.md, "Keys"): everything comes from one 32-byte room key through
 * HKDF-SHA-512 (RFC 5869), each use under its own info string.
 */
import { argon2, createHash, hkdfSync } from "node:crypto";

/** Bytes of a room key. */
export const ROOM_KEY_BYTES = 32;
/** Bytes of the random salt that makes a session's keys its own. */
export const SALT_BYTES = 32;
/** Bytes of what a client shows to a relay that lets in only some. */
export const ACCESS_BYTES = 32;
/** Greatest length of a room's name, in bytes of UTF-8. */
export const MAX_ROOM_NAME_BYTES = 255;

const LABEL = "virtio-cryptodev-chat 1 ";

function info(use: string, ...context: Uint8Array[]): Uint8Array {
  return Buffer.concat([Buffer.from(`${LABEL}${use}\0`), ...context]);
}

function hkdf(key: Uint8Array, salt: Uint8Array, what: Uint8Array, bytes: number): Uint8Array {
  return new Uint8Array(hkdfSync("sha512", key, salt, what, bytes));
}

/** No salt, as RFC 5869 section 2.2 has it. */
const NO_SALT = new Uint8Array(0);

/** The 32 bytes by which a relay knows a room: they tell neither its name nor its key. */
export function roomId(roomKey: Uint8Array, name: string): Uint8Array {
  return hkdf(roomKey, NO_SALT, info("room id", Buffer.from(name)), 32);
}

/** The keys of one sender's connection. The caller zeroes them. */
export interface SessionKeys {
  readonly macKey: Uint8Array;
  readonly encryptionKey: Uint8Array;
}

/** Derives a session's keys: MAC_KEY, then ENC_KEY, as RFC 7518 section 5.2.2.1 splits them. */
export function sessionKeys(roomKey: Uint8Array, room: Uint8Array, salt: Uint8Array): SessionKeys {
  const both = hkdf(roomKey, salt, info("session keys", room), 64);
  return { macKey: both.subarray(0, 32), encryptionKey: both.subarray(32) };
}

/**
 * What a client shows to be let in by a relay that has an access key: 32 bytes, good for one room.
 * @param accessKey 32 bytes
 */
export function accessProof(accessKey: Uint8Array, room: Uint8Array): Uint8Array {
  return hkdf(accessKey, NO_SALT, info("access", room), ACCESS_BYTES);
}

/** Twenty-five digits in five groups: the same for two people only if their keys are the same. */
export function fingerprint(roomKey: Uint8Array): string {
  const bytes = Buffer.from(hkdf(roomKey, NO_SALT, info("fingerprint"), 40));
  const groups = [0, 8, 16, 24, 32].map((at) => bytes.readBigUInt64BE(at) % 100_000n);
  return groups.map((group) => String(group).padStart(5, "0")).join(" ");
}

/** RFC 9106 section 4, the second recommended option: 64 MiB, three passes, four lanes. */
export const ARGON2ID = { parallelism: 4, memory: 65_536, passes: 3, tagLength: ROOM_KEY_BYTES };

/**
 * The room key that a passphrase stands for, through Argon2id (RFC 9106). The salt comes from the
 * room's name, since all who know name and passphrase must get the same key.
 */
export function passphraseKey(passphrase: string, name: string): Promise<Uint8Array> {
  const nonce = createHash("sha512")
    .update(info("passphrase", Buffer.from(name)))
    .digest();
  const message = Buffer.from(passphrase.normalize("NFC"));
  return new Promise((resolve, reject) => {
    argon2("argon2id", { ...ARGON2ID, message, nonce: nonce.subarray(0, 16) }, (error, key) => {
      message.fill(0);
      if (error) reject(error);
      else resolve(new Uint8Array(key));
    });
  });
}
