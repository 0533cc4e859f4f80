/** What /dev/crypto must answer, computed with node:crypto and, for what that lacks, by the standards. */
import { createCipheriv, createDecipheriv, createHash, createHmac } from "node:crypto";

export interface Cipher {
  /** By the ABI. */
  readonly id: number;
  /** As node:crypto has it; AES's without its key's size. */
  readonly name: string;
  readonly block: number;
  readonly iv: number;
  readonly keys: readonly number[];
}

/** Those that node:crypto has here: Camellia is not among them. */
export const CIPHERS: readonly Cipher[] = [
  { id: 1, name: "des-cbc", block: 8, iv: 8, keys: [8] },
  { id: 2, name: "des-ede3-cbc", block: 8, iv: 8, keys: [24] },
  { id: 3, name: "bf-cbc", block: 8, iv: 8, keys: [16] },
  { id: 11, name: "aes-cbc", block: 16, iv: 16, keys: [16, 24, 32] },
  { id: 21, name: "aes-ctr", block: 1, iv: 16, keys: [16, 24, 32] },
  { id: 23, name: "aes-ecb", block: 16, iv: 0, keys: [16, 24, 32] },
  { id: 24, name: "aes-cfb", block: 1, iv: 16, keys: [16, 32] },
  { id: 25, name: "aes-ofb", block: 1, iv: 16, keys: [16, 24, 32] },
];

export const CBC = CIPHERS.filter(({ name }) => name.endsWith("cbc"));

/** MACs by the ABI's number: the hash, and how many bytes its digest has. */
export const HMACS: readonly (readonly [number, string, number])[] = [
  [6, "md5", 16],
  [7, "sha1", 20],
  [8, "ripemd160", 20],
  [18, "sha256", 32],
  [19, "sha384", 48],
  [20, "sha512", 64],
  [107, "sha224", 28],
];

export const HASHES: readonly (readonly [number, string, number])[] = [
  [13, "md5", 16],
  [14, "sha1", 20],
  [102, "ripemd160", 20],
  [103, "sha224", 28],
  [104, "sha256", 32],
  [105, "sha384", 48],
  [106, "sha512", 64],
];

const nodeName = ({ name }: Cipher, key: Uint8Array) =>
  name.replace(/^aes-/, `aes-${key.length * 8}-`);

export function encrypted(cipher: Cipher, key: Uint8Array, iv: Uint8Array, data: Uint8Array) {
  const node = createCipheriv(nodeName(cipher, key), key, cipher.iv === 0 ? null : iv);
  return node.setAutoPadding(false).update(data);
}

export function decrypted(cipher: Cipher, key: Uint8Array, iv: Uint8Array, data: Uint8Array) {
  const node = createDecipheriv(nodeName(cipher, key), key, cipher.iv === 0 ? null : iv);
  return node.setAutoPadding(false).update(data);
}

export const hmac = (hash: string, key: Uint8Array, data: Uint8Array) =>
  createHmac(hash, key).update(data).digest();

export const digest = (hash: string, data: Uint8Array) => createHash(hash).update(data).digest();

/** AES-GCM: the ciphertext and a whole tag behind it. */
export function gcm(key: Uint8Array, iv: Uint8Array, auth: Uint8Array, plain: Uint8Array): Buffer {
  const node = createCipheriv(`aes-${(key.length * 8) as 128 | 192 | 256}-gcm`, key, iv);
  node.setAAD(auth);
  return Buffer.concat([node.update(plain), node.final(), node.getAuthTag()]);
}

const zeros = (bytes: number) => Buffer.alloc(bytes);
const padded = (bytes: Uint8Array) =>
  Buffer.concat([bytes, zeros((16 - (bytes.length % 16)) % 16)]);

/** AES-CCM by SP 800-38C: the ciphertext and a tag of `tagLen` bytes behind it. */
export function ccm(
  key: Uint8Array,
  nonce: Uint8Array,
  auth: Uint8Array,
  plain: Uint8Array,
  tagLen: number,
): Buffer {
  const size = 15 - nonce.length;
  const first = Buffer.concat([
    Buffer.from([(auth.length > 0 ? 64 : 0) + 8 * ((tagLen - 2) / 2) + size - 1]),
    nonce,
    zeros(size),
  ]);
  for (let i = 15, n = plain.length; n > 0; n = Math.floor(n / 256)) first[i--] = n % 256;
  const authLen = Buffer.from([auth.length >> 8, auth.length & 255]);
  const blocks = Buffer.concat([
    first,
    auth.length > 0 ? padded(Buffer.concat([authLen, auth])) : zeros(0),
    padded(plain),
  ]);
  const bits = key.length * 8;
  const chain = createCipheriv(`aes-${bits}-cbc`, key, zeros(16)).setAutoPadding(false);
  const mac = chain.update(blocks).subarray(-16);
  const counter = Buffer.concat([Buffer.from([size - 1]), nonce, zeros(size)]);
  const keyStream = createCipheriv(`aes-${bits}-ctr`, key, counter);
  const tag = keyStream.update(mac).subarray(0, tagLen);
  return Buffer.concat([keyStream.update(plain), tag]);
}

/** CCM's IV as Linux has it. */
export const ccmIv = (nonce: Uint8Array) =>
  Buffer.concat([Buffer.from([14 - nonce.length]), nonce, zeros(15 - nonce.length)]);

/** A record as TLS encrypts it: plaintext, MAC and padding, in CBC. */
export function tlsRecord(
  cipher: Cipher,
  key: Uint8Array,
  iv: Uint8Array,
  plain: Uint8Array,
  mac: Uint8Array,
): Buffer {
  const padding = cipher.block - ((plain.length + mac.length) % cipher.block);
  const whole = Buffer.concat([plain, mac, Buffer.alloc(padding, padding - 1)]);
  return encrypted(cipher, key, iv, whole);
}
