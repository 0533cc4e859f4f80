/** A crypto device behind the shim's functions, in this process: with memory to map, and any manners. */
import { ptr } from "bun:ffi";
import { createCipheriv, createDecipheriv, createHmac } from "node:crypto";
import { constants } from "node:os";
import { CryptodevBackend } from "../../src/crypto/cryptodev.ts";
import type { Shim } from "../../src/crypto/shim.ts";

const MAPPED_BYTES = 65_536;

export class FakeDevice {
  /** What it gives to be mapped, and may write to whenever it likes. */
  readonly memory = new Uint8Array(MAPPED_BYTES);
  /** CIOCCRYPT's data: whether it lay in `memory`, and how much it was. */
  readonly calls: { readonly mapped: boolean; readonly bytes: number }[] = [];
  maps = 0;
  unmaps = 0;
  /** What is done at the end of a call, before the caller goes on; 0 or an errno to answer with. */
  after: (call: "encrypt" | "decrypt" | "mac") => number = () => 0;
  readonly backend: CryptodevBackend;
  readonly #keys: Uint8Array[] = [];

  /** @param mapErrno what mmap() is answered with, undefined where it works */
  constructor(mapErrno?: number) {
    const shim = {
      shim_open: () => 3,
      shim_close: () => 0,
      shim_map: (_fd: number, bytes: number, at: BigUint64Array) => {
        if (mapErrno !== undefined) return -mapErrno;
        if (bytes > MAPPED_BYTES) throw new Error("more than there is");
        at[0] = BigInt(ptr(this.memory));
        this.maps += 1;
        return 0;
      },
      shim_unmap: (at: bigint) => {
        if (at !== BigInt(ptr(this.memory))) throw new Error("not what was mapped");
        this.unmaps += 1;
        return 0;
      },
      shim_cipher_session: this.#session,
      shim_mac_session: this.#session,
      shim_end_session: () => 0,
      shim_session_info: () => -constants.errno.EINVAL,
      shim_crypt: this.#crypt,
      shim_mac: this.#mac,
    };
    this.backend = new CryptodevBackend("/fake", shim as unknown as Shim);
  }

  readonly #session = (
    _fd: number,
    _algorithm: number,
    key: Uint8Array,
    _bytes: number,
    session: Uint32Array,
  ) => {
    session[0] = this.#keys.push(key.slice()) - 1;
    return 0;
  };

  readonly #crypt = (
    _fd: number,
    session: number,
    op: number,
    buffer: Uint8Array,
    at: number,
    length: number,
    ivAt: number,
  ) => {
    this.#note(buffer, length);
    const make = op === 0 ? createCipheriv : createDecipheriv;
    const iv = buffer.subarray(ivAt, ivAt + 16);
    const cipher = make("aes-256-cbc", this.#keys[session] as Uint8Array, iv);
    const data = buffer.subarray(at, at + length);
    data.set(cipher.setAutoPadding(false).update(data));
    return -this.after(op === 0 ? "encrypt" : "decrypt");
  };

  readonly #mac = (
    _fd: number,
    session: number,
    buffer: Uint8Array,
    at: number,
    length: number,
    digest: Uint8Array,
  ) => {
    this.#note(buffer, length);
    const hmac = createHmac("sha512", this.#keys[session] as Uint8Array);
    digest.set(hmac.update(buffer.subarray(at, at + length)).digest());
    return -this.after("mac");
  };

  #note(buffer: Uint8Array, bytes: number): void {
    const at = ptr(buffer);
    const start = ptr(this.memory);
    this.calls.push({ mapped: at >= start && at < start + MAPPED_BYTES, bytes });
  }
}
