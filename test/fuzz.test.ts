/**
 * Random and mutated bytes for all that reads a client's: no crash, no hang, no growth, and every
 * refusal a ProtocolError. CHAT_FUZZ_INPUTS=10000000 bun test test/fuzz.test.ts is a long run.
 */
import { afterAll, expect, setDefaultTimeout, test } from "bun:test";
import { decodeEntry } from "../src/protocol/entry.ts";
import { ProtocolError } from "../src/protocol/errors.ts";
import { encodeFrame, FrameParser, FrameType } from "../src/protocol/frame.ts";
import {
  decodeHello,
  decodeMissed,
  decodeRemark,
  decodeWelcome,
  encodeMissed,
  encodePing,
  encodeRemark,
  encodeWelcome,
} from "../src/protocol/messages.ts";
import { decodePayload } from "../src/protocol/payload.ts";
import { RelayProcess, until } from "./support/programs.ts";
import { hello, RawClient, sendFrame } from "./support/raw-client.ts";

setDefaultTimeout(3_600_000);

const INPUTS = Number(process.env.CHAT_FUZZ_INPUTS ?? 100_000);
/** Inputs that go to a running relay: each is a connection. */
const LIVE = Math.max(500, Math.round(INPUTS / 200));
const SEED = Number(process.env.CHAT_FUZZ_SEED ?? (Math.random() * 2 ** 32) >>> 0);

/** Mulberry32: small, and the same everywhere for a seed. */
function generator(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) % below;
  };
}

const GOOD = [
  hello(),
  hello({ start: { kind: "last", count: 10 } }),
  sendFrame("x".repeat(200)),
  sendFrame(""),
  encodePing(FrameType.PING, new Uint8Array(8)),
  encodePing(FrameType.PONG, new Uint8Array(8)),
  encodeMissed({ first: 1, count: 2 }),
  encodeRemark(FrameType.CLOSE, "shutdown", "the end"),
  encodeFrame(FrameType.ENTRY, new Uint8Array(64)),
  encodeWelcome({
    version: 1,
    newLog: false,
    logId: new Uint8Array(16),
    oldest: 1,
    next: 2,
    start: 1,
    connection: 1,
    maxFrame: 65_536,
    pingSeconds: 30,
  }),
];

/** Some good frames after each other, of which some bytes are changed, lost or doubled. */
function input(random: (below: number) => number): Uint8Array {
  const parts: Uint8Array[] = [];
  for (let i = random(4); i >= 0; i--) parts.push(GOOD[random(GOOD.length)] as Uint8Array);
  let bytes: Uint8Array = Buffer.concat(parts);
  for (let i = random(6); i > 0; i--) {
    const at = random(bytes.length + 1);
    switch (random(5)) {
      case 0:
        bytes[at] = random(256);
        break;
      case 1:
        bytes[at] = (bytes[at] ?? 0) ^ (1 << random(8));
        break;
      case 2:
        bytes = bytes.slice(0, at);
        break;
      case 3:
        bytes = Buffer.concat([bytes.subarray(0, at), bytes.subarray(random(bytes.length + 1))]);
        break;
      default:
        // A length or a number at its bounds
        bytes.set(BOUNDS[random(BOUNDS.length)]?.slice(0, bytes.length - at) ?? [], at);
    }
  }
  return bytes;
}

const BOUNDS = [
  [0, 0, 0, 0],
  [255, 255, 255, 255],
  [0, 1, 0, 0],
  [127, 255, 255, 255],
];

const DECODERS: ((body: Uint8Array) => unknown)[] = [
  decodeHello,
  decodeWelcome,
  decodeMissed,
  decodeRemark,
  (body) => decodePayload(body, 0, body.length),
];

/** True when something was refused. */
function refused(action: () => void): boolean {
  try {
    action();
    return false;
  } catch (error) {
    if (error instanceof ProtocolError) return true;
    throw error;
  }
}

test(`${INPUTS} inputs for frames, messages, entries and payloads (seed ${SEED})`, () => {
  const random = generator(SEED);
  let [frames, refusals] = [0, 0];
  let before = 0;
  for (let i = 0; i < INPUTS; i++) {
    const bytes = input(random);
    const parser = new FrameParser(65_536);
    const cut = random(bytes.length + 1);
    const fed = () => {
      for (const piece of [bytes.subarray(0, cut), bytes.subarray(cut)]) {
        parser.feed(piece, (_, frame, start, end) => {
          frames += 1;
          const body = frame.slice(start, end);
          for (const decode of DECODERS) refusals += refused(() => decode(body)) ? 1 : 0;
          refusals += refused(() => decodeEntry(frame, start, end)) ? 1 : 0;
          return true;
        });
      }
    };
    refusals += refused(fed) ? 1 : 0;
    // What is kept of a frame that is not whole is never more than has come.
    expect(parser.held).toBeLessThanOrEqual(bytes.length);
    if (i === Math.floor(INPUTS / 10)) {
      Bun.gc(true);
      before = process.memoryUsage().heapUsed;
    }
  }
  Bun.gc(true);
  expect(process.memoryUsage().heapUsed - before).toBeLessThan(32 << 20);
  expect(frames).toBeGreaterThan(INPUTS / 10);
  expect(refusals).toBeGreaterThan(INPUTS / 10);
});

let relay: RelayProcess | undefined;
afterAll(async () => {
  await relay?.stop();
});

test(`${LIVE} connections that send such inputs to a relay: it serves others all the while`, async () => {
  const random = generator(SEED + 1);
  relay = await RelayProcess.start(
    "--max-per-address",
    "5000",
    "--quiet",
    "--handshake-timeout",
    "1",
  );
  const { port } = relay;
  const room = new Uint8Array(32).fill(42);
  const listener = await RawClient.join(port, { room });
  const talker = await RawClient.join(port, { room });
  for (let done = 0; done < LIVE; done += 100) {
    const batch = Array.from({ length: Math.min(100, LIVE - done) }, async () => {
      const client = await Bun.connect({
        hostname: "127.0.0.1",
        port,
        socket: { data: () => undefined, error: () => undefined },
      });
      client.write(input(random));
      await Bun.sleep(random(20));
      if (random(2) === 0) client.end();
      else client.terminate();
    });
    await Promise.all(batch);
    talker.send(`still here after ${done}`);
    await until(
      "the others to be served",
      () => listener.texts.at(-1) === `still here after ${done}`,
    );
  }
  expect(relay.process.exitCode).toBeNull();
  expect(relay.stderr).toBe("");
});
