/** A log on a disk that the test plays: what it must not wait for, and what it must not leave. */
import { expect, test } from "bun:test";
import { FrameType } from "../src/protocol/frame.ts";
import { Budget } from "../src/relay/log/budget.ts";
import { DiskLog } from "../src/relay/log/disk/log.ts";
import { Ring } from "../src/relay/log/ring.ts";
import { SimDisk, SimStore } from "./sim/disk.ts";
import { Prng } from "./sim/prng.ts";
import { Scheduler } from "./sim/time.ts";

async function logOf(latency: readonly [number, number]) {
  const scheduler = new Scheduler(new Prng("disk log"));
  const process = scheduler.process("relay");
  const disk = new SimDisk(scheduler.process("disk"));
  disk.latency = latency;
  const keep = { bytes: 0, entries: 0, seconds: 0 };
  const store = new SimStore(process, { fsync: "always", keep, maxRooms: 10 }, disk);
  const budget = new Budget(1 << 20);
  const lost: unknown[] = [];
  const opening = DiskLog.open({
    store,
    key: "ab".repeat(32),
    ring: new Ring(1 << 16, budget),
    budget,
    runtime: process,
    time: () => process.clock.date(),
    events: {
      committed: () => undefined,
      refused: () => undefined,
      lost: (error) => lost.push(error),
      replaced: () => undefined,
    },
  });
  let log: DiskLog | undefined;
  void opening.then((opened) => {
    log = opened;
  });
  scheduler.runUntil(() => log !== undefined, 1000);
  return { scheduler, disk, store, log: log as DiskLog, lost };
}

const say = (log: DiskLog) => {
  log.append(FrameType.ENTRY, 1, new Uint8Array(10), 0, 10);
  log.flush();
};

test("who comes in waits for what came before, not for what others go on saying", async () => {
  const { scheduler, log } = await logOf([10, 10]);
  // More than the disk ever has behind it.
  const talk = scheduler.process("talker").clock.every(1, () => say(log));
  scheduler.run(200);
  let isIn = false;
  void log.fence().then(() => {
    isIn = true;
  });
  expect(scheduler.runUntil(() => isIn, 100)).toBe(true);
  talk.cancel();
});

test("a file that is made after its log was lost is closed: the room can be opened again", async () => {
  const { scheduler, disk, store, log, lost } = await logOf([0, 1]);
  disk.hang();
  say(log);
  scheduler.run(31_000);
  expect(lost.length).toBe(1);
  disk.resume();
  scheduler.run(1000);
  let found: unknown = "nothing yet";
  store.find("ab".repeat(32), 1000).then(
    (file) => {
      found = file?.kept.next;
    },
    (error: unknown) => {
      found = error;
    },
  );
  scheduler.run(1000);
  expect(found).toBe(1);
});
