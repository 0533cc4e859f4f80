/** Bun's sockets and the simulator's, held to one contract. */
import { afterAll } from "bun:test";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { BUN_CLIENT, BUN_SERVER } from "../../src/bun-transport.ts";
import { CALM, type NetworkFaults } from "../sim/faults.ts";
import { SimNetwork } from "../sim/network.ts";
import { Prng } from "../sim/prng.ts";
import { Scheduler } from "../sim/time.ts";
import { until } from "../support/programs.ts";
import { type SocketWorld, socketContract } from "./sockets.ts";

const real = {
  server: BUN_SERVER,
  client: BUN_CLIENT,
  host: "127.0.0.1",
  until: async (what: string, condition: () => boolean) => {
    await until(what, condition);
  },
  idle: () => Bun.sleep(50),
};

socketContract("Bun's TCP", () => real);

const folder = mkdtempSync(join(tmpdir(), "chat-sockets-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function certificate(): SocketWorld["tls"] {
  const [key, cert] = [join(folder, "key.pem"), join(folder, "cert.pem")];
  const kind = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];
  const name = ["-subj", "/CN=relay", "-addext", "subjectAltName=IP:127.0.0.1"];
  const files = ["-keyout", key, "-out", cert];
  const made = Bun.spawnSync(["openssl", "req", "-x509", "-days", "2", ...kind, ...name, ...files]);
  if (!made.success) throw new Error(`no certificate: ${made.stderr}`);
  const ca = readFileSync(cert, "utf8");
  return { identity: { cert: ca, key: readFileSync(key, "utf8") }, options: { ca } };
}

const tls = certificate();
socketContract("Bun's TLS", () => ({ ...real, ...(tls === undefined ? {} : { tls }) }));

/** Long enough for what is slowest here, in simulated milliseconds. */
const AGES = 1e9;

function simulated(seed: number, faults: NetworkFaults): SocketWorld {
  const prng = new Prng(seed);
  const scheduler = new Scheduler(prng.fork("time"));
  const network = new SimNetwork(scheduler, prng.fork("network"));
  network.faults = faults;
  const server = network.attach(scheduler.process("relay"), "10.0.0.1");
  const client = network.attach(scheduler.process("client"), "10.0.0.2");
  return {
    server,
    client,
    host: "10.0.0.1",
    until: async (what, condition) => {
      if (!scheduler.runUntil(condition, AGES)) throw new Error(`in vain waited for ${what}`);
    },
    idle: async () => scheduler.run(60_000),
  };
}

let seed = 0;
const next = () => {
  seed += 1;
  return seed;
};

socketContract("simulated sockets", () => simulated(next(), CALM));
socketContract("simulated sockets with long ways", () =>
  simulated(next(), { ...CALM, delayMs: [0, 5000] }),
);
socketContract("simulated sockets with small buffers and slow readers", () =>
  simulated(next(), {
    ...CALM,
    bufferBytes: [50_000, 1_000_000],
    pieceBytes: [1, 65_536],
    slow: { chance: 0.5, gapMs: 5 },
  }),
);
