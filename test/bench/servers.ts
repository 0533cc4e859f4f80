/** The servers that are compared, each on one core of its own. */
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Subprocess } from "bun";
import { ROOT } from "../../src/setup/build.ts";

export interface Contender {
  readonly name: string;
  /** What the load generator is to speak. */
  readonly protocol: "vcc" | "tls" | "redis" | "nats";
  /** The command that serves on 127.0.0.1 and `port`; undefined where it is not installed. */
  command(port: number, companionPort: number): string[] | undefined;
  /** What it needs running, on the same core and on a port of its own. */
  companion?(port: number): string[] | undefined;
}

export const bin = mkdtempSync(join(tmpdir(), "chat-bench-"));
process.on("exit", () => rmSync(bin, { recursive: true, force: true }));

/** Compiles one of the C programs beside this file. @returns its path */
export function compile(name: string, ...libraries: string[]): string {
  const out = join(bin, name);
  const source = join(import.meta.dir, `${name}.c`);
  const command = ["gcc", "-O2", "-Wall", "-Wextra", "-o", out, source, ...libraries];
  const { exitCode } = Bun.spawnSync(command, { stdio: ["ignore", "inherit", "inherit"] });
  if (exitCode !== 0) throw new Error(`${name}.c does not compile`);
  return out;
}

const installed = (program: string, command: string[]) =>
  Bun.which(program) === null ? undefined : command;

const MANY = "20000";

function relay(name: string, protocol: "vcc" | "tls", flags: () => string[]): Contender {
  const unlimited = ["--rate", "0", "--byte-rate", "0", "--max-connections", "15000"];
  return {
    name,
    protocol,
    command: (port) => [
      ...[join(ROOT, "chat-server"), "--host", "127.0.0.1", "--port", String(port), "--quiet"],
      ...[...unlimited, "--max-per-address", MANY, ...flags()],
    ],
  };
}

/** A folder on the disk, new for each start; /tmp may be in memory. */
function data(): string {
  const folder = mkdtempSync(join("/var/tmp", "chat-bench-data-"));
  process.on("exit", () => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

/** A certificate that nobody checks. @returns the paths of it and of its key */
function certificate(): [string, string] {
  const [cert, key] = [join(bin, "cert.pem"), join(bin, "key.pem")];
  const curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
  const files = ["-keyout", key, "-out", cert, "-subj", "/CN=bench"];
  Bun.spawnSync(["openssl", "req", "-x509", ...curve, ...files]);
  return [cert, key];
}

function tlsFlags(): string[] {
  const [cert, key] = certificate();
  return ["--tls-cert", cert, "--tls-key", key];
}

export const RELAY = relay("chat-server", "vcc", () => []);

/** The relay with what costs something. */
export const RELAYS: readonly Contender[] = [
  RELAY,
  relay("--data, --fsync always", "vcc", () => ["--data", data()]),
  relay("--data, --fsync second", "vcc", () => ["--data", data(), "--fsync", "second"]),
  relay("--data, --fsync never", "vcc", () => ["--data", data(), "--fsync", "never"]),
  relay("--tls-cert", "tls", tlsFlags),
  {
    name: "limit over OpenSSL (bare C)",
    protocol: "tls",
    command: (port) => [join(bin, "limit-relay"), String(port), ...certificate()],
  },
  {
    ...relay("--cluster", "vcc", () => []),
    companion: (port) =>
      installed("nats-server", [
        ...["nats-server", "-js", "-sd", data(), "-a", "127.0.0.1", "-p", String(port)],
      ]),
    command: (port, companionPort) => [
      ...(RELAY.command(port, companionPort) ?? []),
      ...["--cluster", `nats://127.0.0.1:${companionPort}`],
    ],
  },
];

export const LIMIT: Contender = {
  name: "limit (bare C)",
  protocol: "vcc",
  command: (port) => [join(bin, "limit-relay"), String(port)],
};

export const REDIS: Contender = {
  name: "Redis",
  protocol: "redis",
  command: (port) =>
    installed("redis-server", [
      "redis-server",
      "--port",
      String(port),
      "--bind",
      "127.0.0.1",
      "--save",
      "",
      "--maxclients",
      "15000",
    ]),
};

export const NATS: Contender = {
  name: "NATS",
  protocol: "nats",
  command: (port) =>
    installed("nats-server", ["nats-server", "-a", "127.0.0.1", "-p", String(port)]),
};

export class Server {
  readonly port: number;
  readonly #process: Subprocess;
  readonly #companion: Subprocess | undefined;

  private constructor(process: Subprocess, companion: Subprocess | undefined, port: number) {
    this.#process = process;
    this.#companion = companion;
    this.port = port;
  }

  /** Starts a contender pinned to core 0 and waits until it listens; undefined if it is absent. */
  static async start(contender: Contender): Promise<Server | undefined> {
    const [port, companionPort] = [freePort(), freePort()];
    const command = contender.command(port, companionPort);
    if (command === undefined) return undefined;
    let companion: Subprocess | undefined;
    if (contender.companion !== undefined) {
      const needed = contender.companion(companionPort);
      if (needed === undefined) return undefined;
      companion = onCore0(needed);
      await listening(needed[0] ?? "", companionPort);
    }
    const process = onCore0(command);
    await listening(contender.name, port);
    return new Server(process, companion, port);
  }

  /** CPU time used so far, in seconds. */
  get cpuSeconds(): number {
    const fields =
      readFileSync(`/proc/${this.#process.pid}/stat`, "utf8").split(") ")[1]?.split(" ") ?? [];
    const ticks = Number(fields[11]) + Number(fields[12]);
    return ticks / 100;
  }

  /** Resident memory, in bytes. */
  get memory(): number {
    return Number(readFileSync(`/proc/${this.#process.pid}/statm`, "utf8").split(" ")[1]) * 4096;
  }

  async stop(): Promise<void> {
    this.#process.kill();
    await this.#process.exited;
    this.#companion?.kill();
    await this.#companion?.exited;
  }
}

function onCore0(command: string[]): Subprocess {
  return Bun.spawn(["taskset", "-c", "0", ...command], { stdio: ["ignore", "ignore", "ignore"] });
}

async function listening(name: string, port: number): Promise<void> {
  for (let tries = 0; tries < 500; tries++) {
    if (await accepts(port)) return;
    await Bun.sleep(10);
  }
  throw new Error(`${name} does not listen`);
}

function freePort(): number {
  const probe = Bun.listen({ hostname: "127.0.0.1", port: 0, socket: { data: () => undefined } });
  const { port } = probe;
  probe.stop(true);
  return port;
}

async function accepts(port: number): Promise<boolean> {
  try {
    const socket = { data: () => undefined };
    const connection = await Bun.connect({ hostname: "127.0.0.1", port, socket });
    connection.terminate();
    return true;
  } catch {
    return false;
  }
}
