/**
 * Frames: what lies between the TCP byte stream and a message (docs/protocol.md, "Frames").
 *
 * A frame is a big-endian u32 length, a type byte and a body; the length counts the type and the
 * body. The parser owns no socket and allocates only for a frame that arrives in pieces.
 */
import { ProtocolError } from "./errors.ts";

/** Bytes of the length field that precedes every frame. */
export const LENGTH_BYTES = 4;
/** Bytes of the smallest legal value of the length field: the type alone. */
export const MIN_FRAME = 1;
/** Default and greatest value of the length field, in bytes; a relay may set a lower one. */
export const MAX_FRAME = 65_536;

/** Frame types. Bit 7 marks those that only a relay sends. */
export const FrameType = {
  HELLO: 0x01,
  SEND: 0x02,
  PING: 0x03,
  PONG: 0x04,
  WELCOME: 0x81,
  ENTRY: 0x82,
  GONE: 0x83,
  MISSED: 0x84,
  NOTICE: 0x85,
  CLOSE: 0x86,
} as const;

/**
 * Takes one frame. `bytes` is valid during the call only: the body lies in
 * [`start`, `end`). Returning false stops the parser; the rest of the chunk is not looked at.
 */
export type FrameHandler = (
  type: number,
  bytes: Uint8Array,
  start: number,
  end: number,
) => boolean | undefined;

/** Reads a big-endian u32 at `at`. */
export function readU32(bytes: Uint8Array, at: number): number {
  return (
    (byte(bytes, at) * 0x1000000 +
      ((byte(bytes, at + 1) << 16) | (byte(bytes, at + 2) << 8) | byte(bytes, at + 3))) >>>
    0
  );
}

/** Writes `value` as a big-endian u32 at `at`. */
export function writeU32(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = value >>> 24;
  bytes[at + 1] = value >>> 16;
  bytes[at + 2] = value >>> 8;
  bytes[at + 3] = value;
}

/** Reads a big-endian u16 at `at`. */
export function readU16(bytes: Uint8Array, at: number): number {
  return (byte(bytes, at) << 8) | byte(bytes, at + 1);
}

/** Writes `value` as a big-endian u16 at `at`. */
export function writeU16(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = value >>> 8;
  bytes[at + 1] = value;
}

/**
 * Reads a big-endian u64 at `at`.
 * @throws ProtocolError above 2^53 - 1, which no counter of this protocol reaches.
 */
export function readU64(bytes: Uint8Array, at: number): number {
  const value = readU32(bytes, at) * 0x1_0000_0000 + readU32(bytes, at + 4);
  if (!Number.isSafeInteger(value)) throw new ProtocolError("malformed", "a number above 2^53 - 1");
  return value;
}

/** Writes `value`, at most 2^53 - 1, as a big-endian u64 at `at`. */
export function writeU64(bytes: Uint8Array, at: number, value: number): void {
  writeU32(bytes, at, Math.floor(value / 0x1_0000_0000));
  writeU32(bytes, at + 4, value >>> 0);
}

/**
 * A copy of some bytes. What a socket gives is a Buffer, whose own `slice` shares its memory: what it
 * holds may be something else by the time it is looked at.
 */
export function copyOf(bytes: Uint8Array, start: number, end = bytes.length): Uint8Array {
  return Uint8Array.prototype.slice.call(bytes, start, end);
}

function byte(bytes: Uint8Array, at: number): number {
  return bytes[at] as number;
}

/** Lays out a whole frame around `body`. For frames off the hot path. */
export function encodeFrame(type: number, body: Uint8Array): Uint8Array {
  const frame = new Uint8Array(LENGTH_BYTES + 1 + body.length);
  writeU32(frame, 0, body.length + 1);
  frame[LENGTH_BYTES] = type;
  frame.set(body, LENGTH_BYTES + 1);
  return frame;
}

const NOTHING = new Uint8Array(0);

/** Splits a byte stream into frames. */
export class FrameParser {
  /** The beginning of a frame whose end has not come yet, `held` bytes of it. */
  #pending: Uint8Array = NOTHING;
  #held = 0;
  #maxFrame: number;

  /** @param maxFrame the greatest length field that is accepted, in bytes */
  constructor(maxFrame = MAX_FRAME) {
    this.#maxFrame = maxFrame;
  }

  /** Bytes kept for a frame that has not come whole. */
  get held(): number {
    return this.#held;
  }

  /**
   * Feeds the next bytes of the stream; calls `handler` for each frame that is now whole.
   * @returns how many bytes were used: all, unless `handler` stopped after a frame
   * @throws ProtocolError "malformed" for an empty frame, "too-large" for one above the limit;
   *   the stream cannot be followed any more after that.
   */
  feed(chunk: Uint8Array, handler: FrameHandler): number {
    let at = 0;
    if (this.#held > 0) {
      at = this.#complete(chunk, handler);
      if (at < 0) return -at;
    }
    while (at + LENGTH_BYTES <= chunk.length) {
      const end = at + LENGTH_BYTES + this.#check(readU32(chunk, at));
      if (end > chunk.length) break;
      const type = chunk[at + LENGTH_BYTES] as number;
      if (handler(type, chunk, at + LENGTH_BYTES + 1, end) === false) return end;
      at = end;
    }
    if (at < chunk.length) this.#hold(chunk, at, chunk.length);
    return chunk.length;
  }

  /** Finishes the pending frame from `chunk`: how far that was used, negative when all must stop. */
  #complete(chunk: Uint8Array, handler: FrameHandler): number {
    let at = 0;
    if (this.#held < LENGTH_BYTES) {
      at = Math.min(LENGTH_BYTES - this.#held, chunk.length);
      this.#hold(chunk, 0, at);
      if (this.#held < LENGTH_BYTES) return chunk.length;
    }
    const total = LENGTH_BYTES + this.#check(readU32(this.#pending, 0));
    const end = at + Math.min(total - this.#held, chunk.length - at);
    this.#hold(chunk, at, end);
    if (this.#held < total) return end;
    const frame = this.#pending;
    this.#pending = NOTHING;
    this.#held = 0;
    const goOn = handler(frame[LENGTH_BYTES] as number, frame, LENGTH_BYTES + 1, total);
    return goOn === false ? -end : end;
  }

  /** Keeps bytes as they come, so that a promised length alone costs no memory. */
  #hold(chunk: Uint8Array, start: number, end: number): void {
    const needed = this.#held + end - start;
    if (needed > this.#pending.length) {
      const grown = new Uint8Array(
        Math.min(Math.max(needed, this.#pending.length * 2), LENGTH_BYTES + this.#maxFrame),
      );
      grown.set(this.#pending.subarray(0, this.#held));
      this.#pending = grown;
    }
    this.#pending.set(chunk.subarray(start, end), this.#held);
    this.#held = needed;
  }

  #check(length: number): number {
    if (length < MIN_FRAME) throw new ProtocolError("malformed", "an empty frame");
    if (length > this.#maxFrame) {
      throw new ProtocolError(
        "too-large",
        `a frame of ${length} bytes; at most ${this.#maxFrame} are allowed`,
      );
    }
    return length;
  }
}
