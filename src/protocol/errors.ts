/** Why a connection is refused or closed (docs/protocol.md, "Error codes"). */

/** Error codes as they travel in NOTICE and CLOSE frames. */
export const CODES = {
  version: 1,
  malformed: 2,
  "too-large": 3,
  "relay-full": 4,
  "address-full": 5,
  "rooms-full": 6,
  "handshake-timeout": 7,
  "idle-timeout": 8,
  replaced: 9,
  shutdown: 10,
  "rate-limited": 11,
  storage: 12,
  access: 13,
} as const;

export type CodeName = keyof typeof CODES;

const NAMES = new Map<number, CodeName>(
  Object.entries(CODES).map(([name, code]) => [code, name as CodeName]),
);

/** The name of an error code, or undefined for one that a newer relay may know. */
export function codeName(code: number): CodeName | undefined {
  return NAMES.get(code);
}

/** A peer broke the protocol; the connection it came over cannot go on. */
export class ProtocolError extends Error {
  override name = "ProtocolError";
  readonly code: CodeName;
  constructor(code: CodeName, message: string) {
    super(message);
    this.code = code;
  }
}
