/** A reader of a log whose ring moves on while it waits for a page. */
import { expect, test } from "bun:test";
import { FrameType } from "../src/protocol/frame.ts";
import { decodeMissed } from "../src/protocol/messages.ts";
import { Outlet } from "../src/relay/connection/outlet.ts";
import { Reader } from "../src/relay/connection/reader.ts";
import { Budget } from "../src/relay/log/budget.ts";
import type { Log } from "../src/relay/log/log.ts";
import { Ring } from "../src/relay/log/ring.ts";
import type { Run } from "../src/relay/log/run.ts";
import { Counters } from "../src/relay/metrics.ts";
import type { ByteSocket } from "../src/transport.ts";

/** A log of which only the ring and the pages matter here. */
function logOf(ring: Ring, page: (seq: number) => Promise<Run | undefined>): Log {
  return {
    id: new Uint8Array(16),
    ring,
    oldest: 1,
    congested: false,
    append: () => undefined,
    flush: () => undefined,
    fence: async () => undefined,
    page,
    expire: async () => undefined,
    close: async () => undefined,
  };
}

function socketOf(written: Buffer[]): ByteSocket {
  return {
    remoteAddress: "",
    remotePort: 0,
    write: (bytes, at = 0, length = bytes.length - at) => {
      written.push(Buffer.from(bytes.subarray(at, at + length)));
      return length;
    },
    shutdown: () => undefined,
    terminate: () => undefined,
    pause: () => undefined,
    resume: () => undefined,
  };
}

const say = (ring: Ring, count: number) => {
  for (let i = 0; i < count; i++) ring.append(FrameType.ENTRY, 1, new Uint8Array(100), 0, 100);
};

test("is told that it missed what was gone when it asked, not what went while it waited", async () => {
  const ring = new Ring(4096, new Budget(1 << 20));
  say(ring, 100);
  const asked: number[] = [];
  const answers: ((run: Run | undefined) => void)[] = [];
  const written: Buffer[] = [];
  const counters = new Counters();
  const log = logOf(ring, (seq) => {
    asked.push(seq);
    return new Promise((resolve) => answers.push(resolve));
  });
  const errors: unknown[] = [];
  const outlet = new Outlet(socketOf(written), counters);
  const reader = new Reader(log, outlet, 1, counters, {
    unreadable: (error) => errors.push(error),
  });
  reader.pump();
  const oldestThen = ring.oldest;
  expect(asked).toEqual([1]);
  // The ring moves on, by more than it holds.
  say(ring, 100);
  answers[0]?.(undefined);
  await Promise.resolve();
  await Promise.resolve();
  const missed = decodeMissed(Uint8Array.from(written[0]?.subarray(5) ?? []));
  expect(missed).toEqual({ first: 1, count: oldestThen - 1 });
  // What went meanwhile is asked for: it may be kept.
  expect(asked).toEqual([1, oldestThen]);
  // A page that goes back, or nowhere, is no page.
  answers[1]?.({ first: oldestThen, next: oldestThen, bytes: new Uint8Array(0) });
  await Promise.resolve();
  await Promise.resolve();
  expect(errors.length).toBe(1);
  expect(reader.atEnd).toBe(false);
});
