/** Everything that bounds what clients can cost the relay (docs/protocol.md, "Limits"). */
import { MAX_FRAME } from "../protocol/frame.ts";

export interface Limits {
  /** Greatest length field of a client's frame, in bytes. */
  readonly maxFrame: number;
  /** Size of a room's log, in bytes. */
  readonly ringBytes: number;
  /** Rooms, with or without members. */
  readonly maxRooms: number;
  /** An empty room is forgotten after so long, in seconds. */
  readonly roomSeconds: number;
  /** Connections in all. */
  readonly maxConnections: number;
  /** Connections from one address (IPv6: one /64). */
  readonly maxPerAddress: number;
  /** Time for a HELLO to come, in seconds. */
  readonly handshakeSeconds: number;
  /** A silent connection is pinged after so long and closed after twice as long, in seconds. */
  readonly pingSeconds: number;
  /** Messages a second from one client, lastingly; 0 for any number. */
  readonly rate: number;
  /** Bytes a second from one client, lastingly; 0 for any number. */
  readonly byteRate: number;
}

export const DEFAULT_LIMITS: Limits = {
  maxFrame: MAX_FRAME,
  ringBytes: 1 << 20,
  maxRooms: 1024,
  roomSeconds: 3600,
  maxConnections: 10_000,
  maxPerAddress: 256,
  handshakeSeconds: 10,
  pingSeconds: 30,
  rate: 1000,
  byteRate: 1 << 20,
};
