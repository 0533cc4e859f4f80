/** Runs a relay in this process: from its options to its end by a signal. */
import { readFileSync } from "node:fs";
import { BUN_SERVER } from "../bun-transport.ts";
import { EXIT, ExitError } from "../cli/exit.ts";
import { reasonOf } from "../reason.ts";
import { SYSTEM } from "../runtime.ts";
import type { TlsIdentity } from "../transport.ts";
import type { Limits } from "./limits.ts";
import { Budget } from "./log/budget.ts";
import { DiskLogs } from "./log/disk/logs.ts";
import { SqliteStore, type SqliteStoreOptions } from "./log/disk/sqlite.ts";
import { StorageError } from "./log/disk/store.ts";
import { JetStreamLogs } from "./log/jetstream/logs.ts";
import { type ClusterOptions, NatsStream } from "./log/jetstream/nats.ts";
import type { Logs } from "./log/log.ts";
import { MemoryLogs } from "./log/memory.ts";
import { metricsUrl, serveMetrics } from "./metrics.ts";
import { ConsoleReport, type LogFormat } from "./report.ts";
import { MOST_TURNED_AWAY, Relay } from "./server.ts";
import { loadTls, type TlsFiles } from "./tls.ts";

export interface Serving {
  readonly host: string;
  readonly port: number;
  /** Reads the limits, from a file too if there is one; called again on SIGHUP. */
  readonly limits: () => Limits;
  readonly log: { readonly detail: "all" | "quiet"; readonly format: LogFormat };
  readonly tls: TlsFiles | undefined;
  readonly accessKey: Uint8Array | undefined;
  readonly store: SqliteStoreOptions | undefined;
  readonly cluster: ClusterOptions | undefined;
  readonly metrics: { readonly host: string; readonly port: number } | undefined;
}

/** Starts the relay; it ends the process on SIGTERM and SIGINT. @throws ExitError */
export async function serve(serving: Serving): Promise<void> {
  const report = new ConsoleReport(serving.log.detail, serving.log.format);
  const limits = affordable(serving.limits(), serving.store !== undefined, report);
  const tls = serving.tls === undefined ? undefined : identity(serving.tls);
  const budget = new Budget(limits.memoryBytes);
  const logs = await openLogs(serving, budget, report);
  const { host, port, accessKey, metrics } = serving;
  const [runtime, transport] = [SYSTEM, BUN_SERVER];
  const options = { host, port, limits, report, runtime, transport, logs, budget, tls, accessKey };
  const relay = listening(host, port, () => new Relay(options));
  if (metrics !== undefined) {
    const server = listening(metrics.host, metrics.port, () =>
      serveMetrics(metrics.host, metrics.port, relay.counters, () => relay.gauges),
    );
    report.state(`metrics at ${metricsUrl(metrics.host, server.port ?? 0)}`);
  }
  process.on("SIGHUP", () => {
    reload(serving, relay, report);
    budget.total = relay.limits.memoryBytes;
  });
  for (const signal of ["SIGTERM", "SIGINT"] as const) {
    process.on(signal, () => void relay.stop(signal).then(() => process.exit(EXIT.OK)));
  }
}

/** SIGHUP: takes what may have changed, and keeps what it has where that is no good. */
function reload(serving: Serving, relay: Relay, report: ConsoleReport): void {
  try {
    const limits = affordable(serving.limits(), serving.store !== undefined, report);
    if (serving.tls !== undefined) relay.showCertificate(loadTls(serving.tls));
    relay.limits = limits;
    report.state("reloaded");
  } catch (error) {
    report.problem(`not reloaded: ${reasonOf(error)}`);
  }
}

function identity(files: TlsFiles): TlsIdentity {
  try {
    return loadTls(files);
  } catch (error) {
    throw new ExitError(EXIT.NOINPUT, reasonOf(error));
  }
}

async function openLogs(serving: Serving, budget: Budget, report: ConsoleReport): Promise<Logs> {
  if (serving.cluster !== undefined) {
    return new JetStreamLogs(await joinCluster(serving.cluster, report), SYSTEM, budget);
  }
  if (serving.store === undefined) return new MemoryLogs(SYSTEM);
  return new DiskLogs(await openStore(serving.store, report), budget, SYSTEM);
}

async function joinCluster(options: ClusterOptions, report: ConsoleReport): Promise<NatsStream> {
  try {
    return await NatsStream.join(options, report);
  } catch (error) {
    const why = reasonOf(error);
    const hint = "is nats-server running there, with JetStream (-js)?";
    throw new ExitError(EXIT.UNAVAILABLE, `no cluster at ${options.servers} (${why}); ${hint}`);
  }
}

async function openStore(options: SqliteStoreOptions, report: ConsoleReport): Promise<SqliteStore> {
  // What is kept is nobody else's to read, though it is encrypted.
  process.umask(0o077);
  try {
    return await SqliteStore.open(options, (problem) => report.problem(problem));
  } catch (error) {
    if (error instanceof StorageError) throw new ExitError(EXIT.UNAVAILABLE, error.message);
    throw error;
  }
}

/** Starts something that listens; says what to do when it can't. */
function listening<T>(host: string, port: number, start: () => T): T {
  try {
    return start();
  } catch (error) {
    const code = error instanceof Error && "code" in error ? String(error.code) : String(error);
    const hint =
      code === "EADDRINUSE"
        ? "something listens there already; choose another --port"
        : code === "EACCES"
          ? "ports below 1024 need privileges; choose a higher --port"
          : "is --host an address of this machine?";
    throw new ExitError(
      EXIT.UNAVAILABLE,
      `can't listen on ${host} port ${port} (${code}): ${hint}`,
    );
  }
}

/** Descriptors that the relay needs besides its clients' sockets. */
const OTHER_FILES = 32 + MOST_TURNED_AWAY;
/** Descriptors of a room that is kept: its file and the write-ahead log, each twice. */
const FILES_A_ROOM = 4;

/** Limits with as many connections and rooms as the open-file limit lets there be. */
function affordable(limits: Limits, keeps: boolean, report: ConsoleReport): Limits {
  const aRoom = keeps ? FILES_A_ROOM : 0;
  const wanted = limits.maxConnections + OTHER_FILES + aRoom * limits.maxRooms;
  const soft = readFileSync("/proc/self/limits", "utf8").match(/^Max open files\s+(\d+)/m)?.[1];
  if (soft === undefined || Number(soft) >= wanted) return limits;
  // Where there is too little, half of it is for clients in any case.
  const there = Math.max(2 + aRoom, Number(soft) - OTHER_FILES);
  const most = aRoom === 0 ? limits.maxRooms : Math.max(1, Math.floor(there / 2 / aRoom));
  const maxRooms = Math.min(limits.maxRooms, most);
  const maxConnections = Math.min(limits.maxConnections, Math.max(1, there - aRoom * maxRooms));
  const rooms = maxRooms < limits.maxRooms ? ` and ${maxRooms} rooms at a time` : "";
  report.refusal(
    `only ${maxConnections} connections${rooms}: the open-file limit is ${soft}; raise it (ulimit -n ${wanted})`,
  );
  return { ...limits, maxConnections, maxRooms };
}
