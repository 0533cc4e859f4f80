/** A client that speaks the protocol byte by byte, for what no well-behaved one does. */
import type { Socket } from "bun";
import { decodeEntry, type Entry } from "../../src/protocol/entry.ts";
import { encodeFrame, FrameParser, FrameType } from "../../src/protocol/frame.ts";
import {
  decodeMissed,
  decodeRemark,
  decodeWelcome,
  encodeHello,
  type Missed,
  type Remark,
  type Start,
  type Welcome,
} from "../../src/protocol/messages.ts";
import { until } from "./programs.ts";

export const ROOM = new Uint8Array(32).fill(7);

export interface RawOptions {
  readonly room?: Uint8Array;
  readonly token?: Uint8Array;
  readonly start?: Start;
}

export class RawClient {
  welcomed: Welcome | undefined;
  /** Sequence numbers and bodies (latin1) of the entries received. */
  readonly entries: { seq: number; from: number; text: string }[] = [];
  readonly gone: { seq: number; from: number; reason: number }[] = [];
  readonly missed: Missed[] = [];
  readonly notices: Remark[] = [];
  closeRemark: Remark | undefined;
  closed = false;
  pings = 0;
  pongs = 0;
  answersPings = true;
  socket: Socket | undefined;
  readonly #parser = new FrameParser(65_536 + 12);

  /** Connects without a word. */
  static async connect(port: number): Promise<RawClient> {
    const client = new RawClient();
    client.socket = await Bun.connect({
      hostname: "127.0.0.1",
      port,
      socket: {
        data: (_, chunk) => {
          client.#parser.feed(chunk, client.#frame);
        },
        close: () => {
          client.closed = true;
        },
        error: () => undefined,
      },
    });
    return client;
  }

  /** Connects and joins a room. */
  static async join(port: number, options: RawOptions = {}): Promise<RawClient> {
    const client = await RawClient.connect(port);
    client.write(hello(options));
    await until("a WELCOME", () => client.welcomed ?? client.closeRemark);
    return client;
  }

  readonly #frame = (type: number, bytes: Uint8Array, start: number, end: number): undefined => {
    const body = () => bytes.slice(start, end);
    if (type === FrameType.WELCOME) this.welcomed = decodeWelcome(body());
    else if (type === FrameType.ENTRY) this.#entry(decodeEntry(bytes, start, end));
    else if (type === FrameType.GONE) {
      const { seq, from, body: reason } = decodeEntry(bytes, start, end);
      this.gone.push({ seq, from, reason: reason[0] ?? -1 });
    } else if (type === FrameType.MISSED) this.missed.push(decodeMissed(body()));
    else if (type === FrameType.NOTICE) this.notices.push(decodeRemark(body()));
    else if (type === FrameType.CLOSE) this.closeRemark = decodeRemark(body());
    else if (type === FrameType.PONG) this.pongs += 1;
    else if (type === FrameType.PING) {
      this.pings += 1;
      if (this.answersPings) this.write(encodeFrame(FrameType.PONG, body()));
    } else throw new Error(`the relay sent frame type ${type}`);
  };

  #entry({ seq, from, body }: Entry): void {
    this.entries.push({ seq, from, text: Buffer.from(body).toString("latin1") });
  }

  get texts(): string[] {
    return this.entries.map((entry) => entry.text);
  }

  write(bytes: Uint8Array): void {
    this.socket?.write(bytes);
  }

  /** Sends one opaque entry. */
  send(text: string): void {
    this.write(sendFrame(text));
  }

  close(): void {
    this.socket?.end();
  }
}

export function sendFrame(text: string): Uint8Array {
  return encodeFrame(FrameType.SEND, Buffer.from(text, "latin1"));
}

export function hello({
  room = ROOM,
  token,
  start = { kind: "now" },
}: RawOptions = {}): Uint8Array {
  return encodeHello({
    minVersion: 1,
    maxVersion: 1,
    roomId: room,
    token: token ?? crypto.getRandomValues(new Uint8Array(16)),
    start,
  });
}
