/** Lines for the cryptodev program (test/vm/guest/cryptodev-tool.c), and what it answers. */

/** Its operations and flags by the ABI's numbers. */
export const ENCRYPT = 0;
export const DECRYPT = 1;
export const UPDATE = 1;
export const FINAL = 2;
export const WRITE_IV = 4;
export const NO_ZC = 8;
export const TLS = 16;
export const SRTP = 32;
export const RESET = 64;

export const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString("hex");
const word = (data: Data) => (typeof data === "string" ? data : hex(data)) || "-";

/** Bytes, hexadecimal digits, or a word for what both sides can make: `pattern`. */
type Data = Uint8Array | string;

/** Bytes that the program makes as well, so that they need not travel. */
export function pattern(bytes: number, seed = 1): Buffer {
  const out = Buffer.alloc(bytes);
  let x = (Math.imul(seed, 2654435761) + 1) | 0;
  for (let i = 0; i < bytes; i++) {
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    out[i] = x;
  }
  return out;
}

/** The word for a pattern. */
export const patternWord = (bytes: number, seed = 1) => (bytes === 0 ? "-" : `~${bytes}:${seed}`);

/** As the program answers where only a sum of the bytes is wanted. */
export const sum = (bytes: Uint8Array) =>
  `#${(Bun.hash.crc32(bytes) >>> 0).toString(16).padStart(8, "0")}`;

export const session = (cipher: number, key: Data = "", mac = 0, macKey: Data = "", fd = 3) =>
  `session ${fd} ${cipher} ${word(key)} ${mac} ${word(macKey)}`;

interface Call {
  readonly fd?: number;
  readonly ses?: number;
  readonly op?: number;
  readonly flags?: number;
  readonly iv?: Data;
  readonly data?: Data;
}

export interface CryptCall extends Call {
  /** c result, d its sum, m digest, i in place */
  readonly want?: string;
}

export function crypt(call: CryptCall): string {
  const { fd = 3, ses = 1, op = ENCRYPT, flags = 0, iv = "", data = "", want = "c" } = call;
  return `crypt ${fd} ${ses} ${op} ${flags} ${word(iv)} ${word(data)} ${want}`;
}

export interface AuthCall extends Call {
  readonly auth?: Data;
  readonly tag?: Data;
  readonly tagLen?: number;
  readonly want?: string;
}

export function auth(call: AuthCall): string {
  const { fd = 3, ses = 1, op = ENCRYPT, flags = 0, iv = "", data = "", want = "c" } = call;
  const { tag = "", tagLen = 0 } = call;
  const associated = word(call.auth ?? "");
  return `auth ${fd} ${ses} ${op} ${flags} ${word(iv)} ${associated} ${word(data)} ${word(tag)} ${tagLen} ${want}`;
}

export interface SrtpCall extends Call {
  /** How far into `data` that begins which is encrypted, and how many bytes it is. */
  readonly before: number;
  readonly len: number;
  readonly authLen: number;
  readonly tag?: Data;
  readonly tagLen?: number;
}

export function srtp(call: SrtpCall): string {
  const { fd = 3, ses = 1, op = ENCRYPT, iv = "", data = "", tag = "", tagLen = 0 } = call;
  const flags = SRTP | (call.flags ?? 0);
  return `srtp ${fd} ${ses} ${op} ${flags} ${word(iv)} ${word(data)} ${call.before} ${call.len} ${call.authLen} ${word(tag)} ${tagLen}`;
}

/** Where things are: places as the program has them, "-" being NULL. */
export interface PlacedCall extends Omit<Call, "data" | "iv"> {
  readonly len: number;
  readonly src: string;
  readonly dst: string;
  readonly mac?: string;
  readonly iv?: string;
}

function placed(name: string, call: PlacedCall): string {
  const { fd = 3, ses = 1, op = ENCRYPT, flags = 0, len, src, dst, mac = "-", iv = "-" } = call;
  return `${name} ${fd} ${ses} ${op} ${flags} ${len} ${src} ${dst} ${mac} ${iv}`;
}

/** CRYPT, and ASYNCCRYPT, of named memory. */
export const call = (options: PlacedCall) => placed("call", options);
export const queue = (options: PlacedCall) => placed("queue", options);

export interface PlacedAuthCall extends Omit<PlacedCall, "mac"> {
  readonly auth?: string;
  readonly authLen?: number;
  readonly tag?: string;
  readonly tagLen?: number;
  readonly ivLen?: number;
}

/** AUTHCRYPT of named memory. */
export function authCall(options: PlacedAuthCall): string {
  const { fd = 3, ses = 1, op = ENCRYPT, flags = 0, len, src, dst, iv = "-" } = options;
  const { auth = "-", authLen = 0, tag = "-", tagLen = 0, ivLen = 12 } = options;
  return `authcall ${fd} ${ses} ${op} ${flags} ${len} ${authLen} ${auth} ${src} ${dst} ${tag} ${tagLen} ${iv} ${ivLen}`;
}

const bytes = (text = "-") => (text === "-" ? "" : text);

/** What a CRYPT or AUTHCRYPT was answered with; `errno` is 0 where it succeeded. */
export interface Answer {
  readonly errno: number;
  /** Hexadecimal, or a sum. */
  readonly data: string;
  readonly mac: string;
  readonly iv: string;
  readonly len: number;
  readonly tagLen: number;
}

export function answer(line = ""): Answer {
  const words = line.split(" ");
  const errno = words[0] === "error" ? Number(words[1]) : words[0] === "ok" ? 0 : Number.NaN;
  const [data, mac, iv, len, tagLen] = words.slice(errno === 0 ? 1 : 2);
  return {
    errno,
    data: bytes(data),
    mac: bytes(mac),
    iv: bytes(iv),
    len: Number(len),
    tagLen: Number(tagLen),
  };
}
