/** The command line of ./chat-server. */
import { readFileSync } from "node:fs";
import { EXIT, ExitError } from "../cli/exit.ts";
import { readKeyFile } from "../cli/keyfile.ts";
import { defineCommand } from "../cli/program.ts";
import { DEFAULT_PORT, wholeNumber } from "../cli/values.ts";
import { MAX_FRAME } from "../protocol/frame.ts";
import { VERSION } from "../version.ts";
import { DEFAULT_LIMITS, type Limits } from "./limits.ts";
import { Relay } from "./relay.ts";
import { ConsoleReport } from "./report.ts";
import { type Keep, StorageError } from "./roomfile.ts";
import { FSYNC_POLICIES, Store, type StoreOptions } from "./store.ts";
import { loadTls, type TlsFiles, type TlsIdentity } from "./tls.ts";

const D = DEFAULT_LIMITS;
const DAY = 86_400;

function number(description: string, fallback: number) {
  return { type: "string", valueHint: "n", description, default: String(fallback) } as const;
}

export const serverCommand = defineCommand(
  {
    name: "chat-server",
    version: VERSION,
    description: "Relays an encrypted group chat without being able to read it",
  },
  {
    host: { type: "string", description: "Address to listen on", default: "0.0.0.0" },
    port: number("TCP port to listen on, 0 for any that is free", DEFAULT_PORT),
    "ring-bytes": number("Log kept of each room, in bytes", D.ringBytes),
    "max-frame": number("Greatest frame of a client, in bytes", D.maxFrame),
    "max-rooms": number("Rooms at the same time", D.maxRooms),
    "room-ttl": number("Seconds until an empty room is forgotten", D.roomSeconds),
    "max-connections": number("Connections at the same time", D.maxConnections),
    "max-per-address": number("Connections from one address (IPv6: /64)", D.maxPerAddress),
    "handshake-timeout": number(
      "Seconds a new connection has to introduce itself",
      D.handshakeSeconds,
    ),
    ping: number("Seconds of silence before a ping; twice that closes", D.pingSeconds),
    "tls-cert": {
      type: "string",
      valueHint: "path",
      description: "Certificate (PEM, with its chain): clients must use --tls then",
    },
    "tls-key": { type: "string", valueHint: "path", description: "Its private key (PEM)" },
    "access-file": {
      type: "string",
      valueHint: "path",
      description: 'Let in only who has this key; "chat-client keygen --key-file PATH" makes one',
    },
    data: { type: "string", valueHint: "dir", description: "Folder to keep rooms in, for good" },
    fsync: {
      type: "enum",
      options: [...FSYNC_POLICIES],
      description: "When an entry in --data is acknowledged: once on the disk, or written",
      default: "always",
    },
    "keep-bytes": number("Bytes of each room kept in --data, 0 for all", 64 << 20),
    "keep-entries": number("Entries of each room kept in --data, 0 for all", 0),
    "keep-age": number("Seconds that entries are kept in --data, 0 for ever", 0),
    "keep-rooms": number("Rooms kept in --data", 100_000),
    rate: number("Messages a second from one client, 0 for any", D.rate),
    "byte-rate": number("Bytes a second from one client, 0 for any", D.byteRate),
    quiet: { type: "boolean", description: "Log refusals only, not each client" },
  },
  (args) => {
    const limits: Limits = {
      ringBytes: wholeNumber("ring-bytes", args["ring-bytes"], 4096, 2 ** 31),
      maxFrame: wholeNumber("max-frame", args["max-frame"], 1024, MAX_FRAME),
      maxRooms: wholeNumber("max-rooms", args["max-rooms"], 1, 1_000_000),
      roomSeconds: wholeNumber("room-ttl", args["room-ttl"], 0, 365 * DAY),
      maxConnections: wholeNumber("max-connections", args["max-connections"], 1, 1_000_000),
      maxPerAddress: wholeNumber("max-per-address", args["max-per-address"], 1, 1_000_000),
      handshakeSeconds: wholeNumber("handshake-timeout", args["handshake-timeout"], 1, DAY),
      pingSeconds: wholeNumber("ping", args.ping, 1, 3600),
      rate: wholeNumber("rate", args.rate, 0, 1e9),
      byteRate: wholeNumber("byte-rate", args["byte-rate"], 0, 2 ** 40),
    };
    if (limits.ringBytes < 4 * limits.maxFrame) {
      throw new ExitError(
        EXIT.USAGE,
        `--ring-bytes must be at least 4 times --max-frame (${4 * limits.maxFrame})`,
      );
    }
    const keep: Keep = {
      bytes: wholeNumber("keep-bytes", args["keep-bytes"], 0, 2 ** 45),
      entries: wholeNumber("keep-entries", args["keep-entries"], 0, 2 ** 45),
      seconds: wholeNumber("keep-age", args["keep-age"], 0, 100 * 365 * DAY),
    };
    const maxRooms = wholeNumber("keep-rooms", args["keep-rooms"], 1, 10_000_000);
    serve({
      host: args.host,
      port: wholeNumber("port", args.port, 0, 65_535),
      limits,
      quiet: args.quiet === true,
      tls: tlsFiles(args["tls-cert"], args["tls-key"]),
      accessKey: accessKeyOf(args["access-file"]),
      ...(args.data === undefined
        ? {}
        : { store: { folder: args.data, fsync: args.fsync, keep, maxRooms } }),
    });
  },
);

interface Serving {
  readonly host: string;
  readonly port: number;
  readonly limits: Limits;
  readonly quiet: boolean;
  readonly tls: TlsFiles | undefined;
  readonly accessKey: Uint8Array | undefined;
  readonly store?: StoreOptions;
}

function tlsFiles(cert: string | undefined, key: string | undefined): TlsFiles | undefined {
  if (cert !== undefined && key !== undefined) return { cert, key };
  if (cert === undefined && key === undefined) return undefined;
  throw new ExitError(EXIT.USAGE, "--tls-cert and --tls-key go together");
}

function accessKeyOf(path: string | undefined): Uint8Array | undefined {
  if (path === undefined) return undefined;
  return readKeyFile(path, `make it with "chat-client keygen --key-file ${path}"`);
}

function serve(serving: Serving): void {
  const report = new ConsoleReport(serving.quiet ? "quiet" : "all");
  const files =
    OTHER_FILES + (serving.store === undefined ? 0 : FILES_A_ROOM * serving.limits.maxRooms);
  const maxConnections = affordable(serving.limits.maxConnections, files, report);
  const store = serving.store === undefined ? undefined : openStore(serving.store, report);
  const relay = listen(
    { ...serving, limits: { ...serving.limits, maxConnections } },
    report,
    store,
  );
  process.on("SIGHUP", () => reload(serving, relay, report));
  for (const signal of ["SIGTERM", "SIGINT"] as const) {
    process.on(signal, () => void relay.stop(signal).then(() => process.exit(EXIT.OK)));
  }
}

function openStore(options: StoreOptions, report: ConsoleReport): Store {
  // What is kept is nobody else's to read, though it is encrypted.
  process.umask(0o077);
  try {
    return new Store(options, report);
  } catch (error) {
    if (error instanceof StorageError) throw new ExitError(EXIT.UNAVAILABLE, error.message);
    throw error;
  }
}

/** SIGHUP: takes what may have changed, and keeps what it has where that is no good. */
function reload(serving: Serving, relay: Relay, report: ConsoleReport): void {
  try {
    if (serving.tls !== undefined) relay.showCertificate(loadTls(serving.tls));
    report.state("reloaded");
  } catch (error) {
    report.problem(`not reloaded: ${error instanceof Error ? error.message : error}`);
  }
}

function identity(files: TlsFiles): TlsIdentity {
  try {
    return loadTls(files);
  } catch (error) {
    throw new ExitError(EXIT.NOINPUT, error instanceof Error ? error.message : String(error));
  }
}

function listen(serving: Serving, report: ConsoleReport, store?: Store): Relay {
  const { host, port, limits, accessKey } = serving;
  const tls = serving.tls === undefined ? {} : { tls: identity(serving.tls) };
  try {
    return new Relay({
      host,
      port,
      limits,
      report,
      ...tls,
      ...(store === undefined ? {} : { store }),
      ...(accessKey === undefined ? {} : { accessKey }),
    });
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
const OTHER_FILES = 32;
/** Descriptors of a room that is kept: its file, and the write-ahead log twice. */
const FILES_A_ROOM = 3;

/** As many connections as the open-file limit lets there be. */
function affordable(wanted: number, others: number, report: ConsoleReport): number {
  const soft = readFileSync("/proc/self/limits", "utf8").match(/^Max open files\s+(\d+)/m)?.[1];
  if (soft === undefined || Number(soft) >= wanted + others) return wanted;
  const fewer = Math.max(1, Number(soft) - others);
  report.refusal(
    `only ${fewer} connections: the open-file limit is ${soft}; raise it (ulimit -n ${wanted + others})`,
  );
  return fewer;
}
