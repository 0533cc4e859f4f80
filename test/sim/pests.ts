/** Clients that nobody wants: what they do must harm nobody else. */
import { encodeFrame, FrameType } from "../../src/protocol/frame.ts";
import { encodeHello, type Start, VERSION } from "../../src/protocol/messages.ts";
import type { ByteSocket, ClientTransport } from "../../src/transport.ts";
import type { SimProcess } from "./process.ts";
import type { Truth } from "./truth.ts";

export interface Prey {
  readonly endpoint: { readonly host: string; readonly port: number };
  readonly room: { readonly name: string; readonly id: Uint8Array };
  readonly truth: Truth;
  /** From 0 to 1: how much of it. */
  readonly much: number;
  /** Greatest frame of the relay. */
  readonly maxFrame: number;
}

const ALL: Start = { kind: "last", count: 1e9 };

function hello(
  process: SimProcess,
  roomId: Uint8Array,
  start: Start = { kind: "now" },
): Uint8Array {
  const token = process.random(new Uint8Array(16));
  const { min, max } = VERSION;
  return encodeHello({ minVersion: min, maxVersion: max, roomId, token, start });
}

type Pest = (process: SimProcess, transport: ClientTransport, prey: Prey) => void;

/** Connects, does something, and is gone after a while. */
function visit(
  process: SimProcess,
  transport: ClientTransport,
  prey: Prey,
  milliseconds: number,
  act: (socket: ByteSocket) => void,
): void {
  transport.connect(prey.endpoint, undefined, {
    open: (socket) => {
      act(socket);
      process.clock.after(milliseconds, () => socket.terminate());
    },
    data: () => undefined,
    drain: () => undefined,
    closed: () => undefined,
  });
}

const send = (text: string) => encodeFrame(FrameType.SEND, Buffer.from(text, "latin1"));

export const PESTS: readonly Pest[] = [
  // Says nothing.
  (process, transport, prey) => visit(process, transport, prey, 20_000, () => undefined),
  // Sends garbage, before or after a HELLO.
  (process, transport, prey) =>
    visit(process, transport, prey, 1000, (socket) => {
      const garbage = process.random(new Uint8Array(50 + Math.floor(prey.much * 2000)));
      if (prey.much < 0.5) socket.write(hello(process, prey.room.id));
      socket.write(garbage);
    }),
  // Vanishes in the middle of a frame.
  (process, transport, prey) =>
    visit(process, transport, prey, 100, (socket) => {
      const frame = send("x".repeat(500));
      socket.write(hello(process, prey.room.id));
      socket.write(frame, 0, Math.floor(frame.length * prey.much));
    }),
  // Reads nothing of all there is.
  (process, transport, prey) =>
    visit(process, transport, prey, 10_000, (socket) => {
      socket.pause();
      socket.write(hello(process, prey.room.id, ALL));
    }),
  // Looks into rooms that nobody is in.
  (process, transport, prey) => {
    for (let i = 0; i < 1 + prey.much * 8; i++) {
      visit(process, transport, prey, 500, (socket) => {
        socket.write(hello(process, process.random(new Uint8Array(32)), ALL));
      });
    }
  },
  // Says in a member's room what no member says: in one go, empty or large.
  (process, transport, prey) =>
    visit(process, transport, prey, 2000, (socket) => {
      const { truth, room, much, maxFrame } = prey;
      const frames = [hello(process, room.id)];
      for (let i = 0; i < 1 + much * 50; i++) {
        const id = Buffer.from(process.random(new Uint8Array(4))).toString("hex");
        const text =
          i % 2 === 0 ? "" : `${room.name} pest ${id} `.padEnd(much * (maxFrame - 64), "x");
        truth.sends(room.name, text);
        frames.push(send(text));
      }
      socket.write(Buffer.concat(frames));
    }),
  // Pings and pings, and reads no answer.
  (process, transport, prey) =>
    visit(process, transport, prey, 3000, (socket) => {
      socket.pause();
      const ping = encodeFrame(FrameType.PING, new Uint8Array(8));
      socket.write(
        Buffer.concat([hello(process, prey.room.id), ...Array<Uint8Array>(200).fill(ping)]),
      );
    }),
  // Closes its side at once.
  (process, transport, prey) =>
    visit(process, transport, prey, 5000, (socket) => {
      socket.write(hello(process, prey.room.id));
      socket.shutdown();
    }),
];
