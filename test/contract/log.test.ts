/** The kinds of log, over real disks and streams and over the simulator's, by one contract. */
import { afterAll } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { join } from "node:path";
import type { Budget } from "../../src/relay/log/budget.ts";
import { DiskLogs } from "../../src/relay/log/disk/logs.ts";
import { SqliteStore } from "../../src/relay/log/disk/sqlite.ts";
import { FSYNC_POLICIES, type FsyncPolicy, type Store } from "../../src/relay/log/disk/store.ts";
import { JetStreamLogs } from "../../src/relay/log/jetstream/logs.ts";
import { NatsStream } from "../../src/relay/log/jetstream/nats.ts";
import type { Logs } from "../../src/relay/log/log.ts";
import { MemoryLogs } from "../../src/relay/log/memory.ts";
import { SYSTEM } from "../../src/runtime.ts";
import { SimDisk, SimStore } from "../sim/disk.ts";
import { SimJetStream, SimStream } from "../sim/jetstream.ts";
import { Prng } from "../sim/prng.ts";
import { Scheduler } from "../sim/time.ts";
import { Nats } from "../support/nats.ts";
import { Scratch, until } from "../support/programs.ts";
import { type LogWorld, logContract } from "./log.ts";
import { clusterOptions, silentReport } from "./nats-stream.ts";

const scratch = new Scratch();
let nats: Promise<Nats> | undefined;
afterAll(async () => {
  await (await nats)?.kill();
  scratch.remove();
});

const keepAll = { bytes: 0, entries: 0, seconds: 0 };
/** Time passes as it does. */
const really = (condition: () => boolean) => until("the log", condition).then(() => undefined);

function world(logs: Logs, budget: Budget, again: () => Promise<Logs>): LogWorld {
  let now = logs;
  return {
    logs,
    budget,
    until: really,
    async reopened() {
      await now.close();
      now = await again();
      return now;
    },
    end: () => now.close(),
  };
}

logContract({
  name: "memory",
  keeps: false,
  make: async (budget) => world(new MemoryLogs(SYSTEM), budget, async () => new MemoryLogs(SYSTEM)),
});

for (const fsync of FSYNC_POLICIES) {
  logContract({
    name: `SQLite files, --fsync ${fsync}`,
    keeps: true,
    async make(budget) {
      const folder = mkdtempSync(join(scratch.path, "data-"));
      const open = async () => {
        const options = { folder, fsync, keep: keepAll, maxRooms: 10 };
        const store = await SqliteStore.open(options, () => undefined);
        return new DiskLogs(store, budget, SYSTEM);
      };
      const made = world(await open(), budget, open);
      const end = async () => {
        await made.end();
        rmSync(folder, { recursive: true });
      };
      return { ...made, end };
    },
  });
}

logContract({
  name: "a NATS server's JetStream",
  keeps: true,
  async make(budget) {
    nats ??= Nats.start(scratch);
    const server = await nats;
    const open = async () => {
      const stream = await NatsStream.join(clusterOptions(server, {}), silentReport);
      return new JetStreamLogs(stream, SYSTEM, budget);
    };
    return world(await open(), budget, open);
  },
});

/** Simulated time passes whenever the real event loop turns. */
async function simulated(
  budget: Budget,
  make: (scheduler: Scheduler) => () => Promise<Logs>,
): Promise<LogWorld> {
  const scheduler = new Scheduler(new Prng("log"));
  const turn = setInterval(() => scheduler.run(10), 0);
  const open = make(scheduler);
  const made = world(await open(), budget, open);
  const end = () => made.end().finally(() => clearInterval(turn));
  return { ...made, end };
}

for (const fsync of FSYNC_POLICIES) {
  logContract({
    name: `the simulator's disk, --fsync ${fsync}`,
    keeps: true,
    make: (budget) =>
      simulated(budget, (scheduler) => {
        const disk = new SimDisk(scheduler.process("disk"));
        disk.latency = [0.1, 5];
        return async () => {
          const process = scheduler.process("relay");
          const options = { fsync: fsync as FsyncPolicy, keep: keepAll, maxRooms: 10 };
          const store: Store = new SimStore(process, options, disk);
          return new DiskLogs(store, budget, process);
        };
      }),
  });
}

logContract({
  name: "the simulator's JetStream",
  keeps: true,
  make: (budget) =>
    simulated(budget, (scheduler) => {
      const server = new SimJetStream(scheduler.process("nats"));
      return async () =>
        new JetStreamLogs(new SimStream(server), scheduler.process("relay"), budget);
    }),
});
