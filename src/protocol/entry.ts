/**
 * Log entries as frames (docs/protocol.md, "Entries"): length u32, type u8, sequence number u64,
 * connection number u32, body. The relay lays an entry out once, in its ring; every client reads
 * those same bytes.
 */

import { ProtocolError } from "./errors.ts";
import { LENGTH_BYTES, readU32, readU64, writeU32, writeU64 } from "./frame.ts";

/** Bytes of an entry's frame before its body. */
export const ENTRY_HEADER_BYTES = LENGTH_BYTES + 1 + 8 + 4;
/** Bytes by which an ENTRY's length field exceeds that of the SEND it came from. */
export const ENTRY_EXTRA_BYTES = 8 + 4;

/** Why a connection is gone: the one byte of a GONE entry's body. */
export const GoneReason = { CLOSED: 0, TIMEOUT: 1, REFUSED: 2, REPLACED: 3 } as const;

/** Writes an entry's header, ENTRY_HEADER_BYTES long, at `at`. */
export function encodeEntryHeader(
  header: Uint8Array,
  at: number,
  type: number,
  seq: number,
  from: number,
  bodyBytes: number,
): void {
  writeU32(header, at, 1 + ENTRY_EXTRA_BYTES + bodyBytes);
  header[at + LENGTH_BYTES] = type;
  writeU64(header, at + LENGTH_BYTES + 1, seq);
  writeU32(header, at + LENGTH_BYTES + 9, from);
}

/** An entry as a client receives it. `body` is a view, valid until the handler returns. */
export interface Entry {
  readonly seq: number;
  readonly from: number;
  readonly body: Uint8Array;
}

/** Decodes the frame body of an ENTRY or a GONE. */
export function decodeEntry(bytes: Uint8Array, start: number, end: number): Entry {
  if (end - start < ENTRY_EXTRA_BYTES) {
    throw new ProtocolError("malformed", `an entry of ${end - start} bytes`);
  }
  return {
    seq: readU64(bytes, start),
    from: readU32(bytes, start + 8),
    body: bytes.subarray(start + ENTRY_EXTRA_BYTES, end),
  };
}
