/**
 * bun run bench: what the relay and the envelope cost, beside others in the same run. Each figure is
 * the median of several runs, taken in turn so that a busy machine is busy for all.
 *
 *   bun run bench                everything, about 10 minutes
 *   bun run bench --quick        fewer sizes and runs, about 2 minutes
 */
import { join } from "node:path";
import { ensureExecutables } from "../../src/setup/executables.ts";
import { BENCH_TOOLS, ensurePackages, VM_TOOLS } from "../../src/setup/packages.ts";
import { envelopeTable } from "./envelope.ts";
import { guestCryptoTable } from "./guest-crypto.ts";
import { median } from "./median.ts";
import {
  bin,
  type Contender,
  compile,
  LIMIT,
  NATS,
  REDIS,
  RELAY,
  RELAYS,
  Server,
} from "./servers.ts";

const quick = process.argv.includes("--quick");
const RUNS = 3;
const MILLISECONDS = quick ? 500 : 1000;
const SUBSCRIBERS = quick ? [100] : [10, 100, 1000];
const BYTES = quick ? [256] : [64, 256, 4096];
const WINDOWS = [512, 1];
const IDLE = 10_000;
const CONTENDERS: readonly Contender[] = [RELAY, LIMIT, REDIS, NATS];

interface Load {
  readonly seconds: number;
  readonly deliveries: number;
  readonly p50us: number;
  readonly p99us: number;
}

interface Measured {
  readonly rate: number;
  readonly cpuMicros: number;
  readonly p50us: number;
  readonly p99us: number;
}

/** @param ready is called when all are connected, before the first message */
async function load(ready: () => void, ...words: (string | number)[]): Promise<Load> {
  const command = ["taskset", "-c", "1", join(bin, "load"), ...words.map(String)];
  const run = Bun.spawn(command, { stdio: ["ignore", "pipe", "inherit"] });
  let text = "";
  for await (const chunk of run.stdout.pipeThrough(new TextDecoderStream())) {
    if (text === "") ready();
    text += chunk;
  }
  if ((await run.exited) !== 0) throw new Error(`the load generator failed: ${words.join(" ")}`);
  return JSON.parse(text.slice(text.indexOf("\n"))) as Load;
}

async function measure(contender: Contender, subscribers: number, bytes: number, window: number) {
  const server = await Server.start(contender);
  if (server === undefined) return undefined;
  try {
    let before = 0;
    const got = await load(
      () => {
        before = server.cpuSeconds;
      },
      contender.protocol,
      server.port,
      subscribers,
      bytes,
      window,
      MILLISECONDS,
    );
    const cpu = server.cpuSeconds - before;
    return {
      rate: got.deliveries / got.seconds,
      cpuMicros: (cpu * 1e6) / got.deliveries,
      p50us: got.p50us,
      p99us: got.p99us,
    };
  } finally {
    await server.stop();
  }
}

/** Medians of several runs, the contenders taking turns; undefined for those that are absent. */
async function compare(
  contenders: readonly Contender[],
  subscribers: number,
  bytes: number,
  window: number,
) {
  const all = new Map<Contender, Measured[]>();
  for (let run = 0; run < RUNS; run++) {
    for (const contender of contenders) {
      const one = await measure(contender, subscribers, bytes, window);
      if (one !== undefined) all.set(contender, [...(all.get(contender) ?? []), one]);
    }
  }
  return contenders.map((contender) => {
    const runs = all.get(contender);
    if (runs === undefined) return { contender, result: undefined };
    const of = (key: keyof Measured) => median(runs.map((one) => one[key]));
    return {
      contender,
      result: {
        rate: of("rate"),
        cpuMicros: of("cpuMicros"),
        p50us: of("p50us"),
        p99us: of("p99us"),
      },
    };
  });
}

const rate = (n: number) => (n >= 1e6 ? `${(n / 1e6).toFixed(2)} M` : `${(n / 1e3).toFixed(0)} k`);

const HEADER = [
  "| subscribers | bytes | in flight | server | deliveries/s | ratio | server CPU µs/delivery | p50 µs | p99 µs |",
  "|--:|--:|--:|---|--:|--:|--:|--:|--:|",
].join("\n");

/** Rows of a table: each contender, and the first one's rate to its. */
async function rows(
  contenders: readonly Contender[],
  subscribers: number,
  bytes: number,
  window: number,
): Promise<void> {
  const results = await compare(contenders, subscribers, bytes, window);
  const own = results[0]?.result?.rate ?? Number.NaN;
  for (const { contender, result } of results) {
    const place = `| ${subscribers} | ${bytes} | ${window} | ${contender.name} |`;
    if (result === undefined) {
      console.log(`${place} absent: not installed | | | | |`);
      continue;
    }
    const ratio = `${(own / result.rate).toFixed(2)}`;
    const latency =
      window === 1 ? `${result.p50us.toFixed(0)} | ${result.p99us.toFixed(0)}` : " | ";
    console.log(
      `${place} ${rate(result.rate)} | ${ratio} | ${result.cpuMicros.toFixed(3)} | ${latency} |`,
    );
  }
}

async function fanOut(): Promise<void> {
  console.log("## Fan-out over loopback, one core for the server, one for the load\n");
  console.log(
    "A message is in flight until the last subscriber has it. Ratio: chat-server's rate to theirs.\n",
  );
  console.log(HEADER);
  for (const subscribers of SUBSCRIBERS) {
    for (const bytes of BYTES) {
      for (const window of WINDOWS) await rows(CONTENDERS, subscribers, bytes, window);
    }
  }
}

async function prices(): Promise<void> {
  console.log("\n## What keeping rooms, and TLS, cost\n");
  console.log(
    "The same relay with one more option. Ratio: the rate without to the rate with it. Redis keeps nothing.\n",
  );
  console.log(HEADER);
  for (const bytes of BYTES) {
    for (const window of WINDOWS) await rows([...RELAYS, REDIS], 100, bytes, window);
  }
}

async function memory(): Promise<void> {
  console.log(`\n## Memory of ${IDLE} idle connections, all in one room\n`);
  console.log("| server | resident before | after | a connection |");
  console.log("|---|--:|--:|--:|");
  for (const contender of CONTENDERS) {
    const server = await Server.start(contender);
    if (server === undefined) {
      console.log(`| ${contender.name} | absent: not installed | | |`);
      continue;
    }
    const before = server.memory;
    const command = [
      join(bin, "load"),
      contender.protocol,
      String(server.port),
      String(IDLE),
      "idle",
    ];
    const holder = Bun.spawn(command, { stdio: ["pipe", "pipe", "inherit"] });
    const reader = holder.stdout.getReader();
    await reader.read();
    await Bun.sleep(500);
    const after = server.memory;
    holder.stdin.end();
    await holder.exited;
    await server.stop();
    const mib = (n: number) => `${(n / 2 ** 20).toFixed(1)} MiB`;
    const each = `${((after - before) / IDLE / 1024).toFixed(2)} KiB`;
    console.log(`| ${contender.name} | ${mib(before)} | ${mib(after)} | ${each} |`);
  }
}

ensurePackages(BENCH_TOOLS);
await ensureExecutables();
compile("load", "-lssl", "-lcrypto");
compile("limit-relay", "-lssl", "-lcrypto");
console.log(`# Benchmark, ${new Date().toISOString().slice(0, 10)}, medians of ${RUNS} runs\n`);
await fanOut();
await prices();
await memory();
console.log(envelopeTable(RUNS));
if (ensurePackages(VM_TOOLS).length === 0) console.log(await guestCryptoTable(RUNS, quick));
else console.log("\n## AES-128-CBC in a guest\n\nLeft out: packages are missing, see above.");
