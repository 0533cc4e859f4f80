/**
 * The backend that has a /dev/crypto node do the work: one cipher session and one MAC session for
 * each key pair, one ioctl for each operation. Where the device gives memory by mmap(), messages of
 * some size are worked on there, and the kernel copies nothing.
 */
import { type Pointer, toArrayBuffer } from "bun:ffi";
import { constants } from "node:os";
import { type Backend, DeviceError, type KeyPair, type Primitives } from "./backend.ts";
import { loadShim, type Shim, textOf } from "./shim.ts";
import {
  ciphertextBetween,
  ciphertextBytes,
  IV_BYTES,
  open,
  openIn,
  seal,
  sealIn,
  TAG_BYTES,
} from "./suite.ts";

/** Algorithm numbers of the cryptodev ABI. */
const CRYPTO_AES_CBC = 11;
const CRYPTO_SHA2_512_HMAC = 20;
const ENCRYPT = 0;
const DECRYPT = 1;
const NAME_BYTES = 64;

/** Bytes that are mapped, more than any message with its associated data. */
const MAPPED_BYTES = 65_536;
/** Bytes of IV and tag. */
const SUITE_BYTES = IV_BYTES + TAG_BYTES;
/** For shorter ciphertexts, in bytes, it makes no difference (docs/performance.md). */
const MAPPED_FROM = 16_384;

const ERRNO_NAMES = new Map<number, string>(
  Object.entries(constants.errno).map(([name, value]) => [value, name]),
);

/** What an errno most likely means for someone who uses a crypto device. */
const HINTS: Readonly<Record<string, string>> = {
  EACCES: "you may not open it; its mode should be 0666",
  ENOENT: "there is no such device",
  ENXIO: "no driver stands behind it",
  ENODEV: "the device is gone",
  ENOTTY: "it is not a crypto device",
  EINVAL: "the device does not offer this algorithm or operation",
  ENOMEM: "the device or the kernel has no room for another session",
  EMFILE: "too many files or sessions are open",
};

function check(path: string, call: string, result: number): number {
  if (result >= 0) return result;
  const name = ERRNO_NAMES.get(-result) ?? `errno ${-result}`;
  const hint = HINTS[name] === undefined ? "" : `: ${HINTS[name]}`;
  throw new DeviceError(`${path}: ${call} failed with ${name}${hint}`);
}

class DeviceKeys implements KeyPair, Primitives {
  readonly #device: CryptodevBackend;
  readonly #cipher: number;
  readonly #mac: number;

  constructor(device: CryptodevBackend, cipher: number, mac: number) {
    this.#device = device;
    this.#cipher = cipher;
    this.#mac = mac;
  }

  seal(buffer: Uint8Array, adAt: number, ivAt: number, plaintextBytes: number): number {
    const work = this.#device.workspace(ciphertextBytes(plaintextBytes), ivAt - adAt);
    return work === undefined
      ? seal(this, buffer, adAt, ivAt, plaintextBytes)
      : sealIn(work, this, buffer, adAt, ivAt, plaintextBytes);
  }

  open(buffer: Uint8Array, adAt: number, ivAt: number, end: number): number {
    const work = this.#device.workspace(ciphertextBetween(ivAt, end), ivAt - adAt);
    return work === undefined
      ? open(this, buffer, adAt, ivAt, end)
      : openIn(work, this, buffer, adAt, ivAt, end);
  }

  encrypt(buffer: Uint8Array, at: number, length: number, ivAt: number): void {
    this.#device.crypt(this.#cipher, ENCRYPT, buffer, at, length, ivAt);
  }

  decrypt(buffer: Uint8Array, at: number, length: number, ivAt: number): void {
    this.#device.crypt(this.#cipher, DECRYPT, buffer, at, length, ivAt);
  }

  mac(buffer: Uint8Array, at: number, length: number, digest: Uint8Array): void {
    this.#device.mac(this.#mac, buffer, at, length, digest);
  }

  close(): void {
    this.#device.endSession(this.#cipher);
    this.#device.endSession(this.#mac);
  }
}

export class CryptodevBackend implements Backend {
  readonly path: string;
  readonly #shim: Shim;
  #fd: number;
  #drivers = "";
  /** Memory of the device's; undefined until it is wanted, null where the device has none. */
  #mapped: Uint8Array | undefined | null;
  readonly #mappedAt = new BigUint64Array(1);

  /** Opens the device. @throws DeviceError */
  constructor(path: string, shim = loadShim()) {
    this.path = path;
    this.#shim = shim;
    this.#fd = check(path, "open", this.#shim.shim_open(Buffer.from(`${path}\0`)));
  }

  get description(): string {
    return this.#drivers === "" ? this.path : `${this.path} (${this.#drivers})`;
  }

  open(encryptionKey: Uint8Array, macKey: Uint8Array): DeviceKeys {
    const cipher = this.#session("cipher", encryptionKey);
    try {
      const mac = this.#session("mac", macKey);
      if (this.#drivers === "") this.#drivers = this.#driverNames(cipher, mac);
      return new DeviceKeys(this, cipher, mac);
    } catch (error) {
      this.endSession(cipher);
      throw error;
    }
  }

  #session(kind: "cipher" | "mac", key: Uint8Array): number {
    const session = new Uint32Array(1);
    const { shim_cipher_session, shim_mac_session } = this.#shim;
    const result =
      kind === "cipher"
        ? shim_cipher_session(this.#fd, CRYPTO_AES_CBC, key, key.length, session)
        : shim_mac_session(this.#fd, CRYPTO_SHA2_512_HMAC, key, key.length, session);
    const algorithm = kind === "cipher" ? "AES-CBC" : "HMAC-SHA512";
    check(this.path, `ioctl CIOCGSESSION (${algorithm})`, result);
    return session[0] as number;
  }

  /** The names of the kernel's drivers, where the device tells them. */
  #driverNames(cipher: number, mac: number): string {
    const names: string[] = [];
    for (const [session, wanted] of [
      [cipher, 0],
      [mac, 1],
    ] as const) {
      const driver = [new Uint8Array(NAME_BYTES), new Uint8Array(NAME_BYTES)] as const;
      if (this.#shim.shim_session_info(this.#fd, session, driver[0], driver[1]) >= 0) {
        names.push(textOf(driver[wanted]));
      }
    }
    // A name comes from a driver, in a virtual machine even from the host: letters only.
    return names
      .map((name) => name.replace(/[^\x21-\x7e]/g, "?"))
      .filter((name) => name !== "")
      .join(", ");
  }

  crypt(session: number, op: number, buffer: Uint8Array, at: number, length: number, iv: number) {
    const result = this.#shim.shim_crypt(this.#fd, session, op, buffer, at, length, iv);
    if (result < 0) check(this.path, "ioctl CIOCCRYPT (AES-CBC)", result);
  }

  mac(session: number, buffer: Uint8Array, at: number, length: number, digest: Uint8Array): void {
    const result = this.#shim.shim_mac(this.#fd, session, buffer, at, length, digest);
    if (result < 0) check(this.path, "ioctl CIOCCRYPT (HMAC-SHA512)", result);
  }

  /** Ends a session; a device that is gone has ended it already. */
  endSession(session: number): void {
    if (this.#fd >= 0) this.#shim.shim_end_session(this.#fd, session);
  }

  /**
   * Where to work on a message with so many bytes of ciphertext and associated data: undefined for
   * where it lies. The device can write there at any time, and may do so out of turn; and it is gone
   * after close(), so it is for the length of one call.
   */
  workspace(ciphertext: number, associated: number): Uint8Array | undefined {
    const all = associated + ciphertext + SUITE_BYTES;
    if (ciphertext < MAPPED_FROM || all > MAPPED_BYTES) return undefined;
    if (this.#mapped === undefined) this.#mapped = this.#map();
    return this.#mapped ?? undefined;
  }

  /** What does not work is no error: the kernel then copies, as for devices without mmap(). */
  #map(): Uint8Array | null {
    if (this.#fd < 0 || this.#shim.shim_map(this.#fd, MAPPED_BYTES, this.#mappedAt) < 0)
      return null;
    const at = Number(this.#mappedAt[0]) as Pointer;
    return new Uint8Array(toArrayBuffer(at, 0, MAPPED_BYTES));
  }

  /** Nobody but one call at a time of this class has the view, so none is left to be used. */
  #unmap(): void {
    const view = this.#mapped;
    this.#mapped = null;
    if (view === undefined || view === null) return;
    view.fill(0);
    this.#shim.shim_unmap(this.#mappedAt[0] as bigint, MAPPED_BYTES);
  }

  /** Closes the device, which ends every session and lets the kernel zero the keys. */
  close(): void {
    this.#unmap();
    if (this.#fd >= 0) this.#shim.shim_close(this.#fd);
    this.#fd = -1;
  }
}
