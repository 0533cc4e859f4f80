/** The command line of ./chat-server. */
import { EXIT, ExitError } from "../cli/exit.ts";
import { readKeyFile } from "../cli/keyfile.ts";
import { defineCommand } from "../cli/program.ts";
import { DEFAULT_PORT, wholeNumber } from "../cli/values.ts";
import { VERSION } from "../version.ts";
import { DEFAULT_LIMITS, limitsFrom, readLimitsFile } from "./limits.ts";
import { FSYNC_POLICIES } from "./log/disk/store.ts";
import { LOG_FORMATS } from "./report.ts";
import { serve } from "./serve.ts";
import type { TlsFiles } from "./tls.ts";

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
    "ring-bytes": number("Memory for each room's newest entries, in bytes", D.ringBytes),
    memory: number("Memory for those of all rooms together, in bytes", D.memoryBytes),
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
    cluster: {
      type: "string",
      valueHint: "nats://HOST:PORT",
      description: "Serve the same rooms as other relays, through NATS JetStream",
    },
    "cluster-creds": {
      type: "string",
      valueHint: "path",
      description: "NATS credentials file",
    },
    "cluster-streams": number("Streams that rooms are spread over, the same for all relays", 1),
    "cluster-replicas": number(
      "Copies of each entry in the cluster, if this relay is the first",
      1,
    ),
    "limits-file": {
      type: "string",
      valueHint: "path",
      description: 'Limits, as lines "rate 500"; read again on SIGHUP, as certificates are',
    },
    "metrics-port": {
      type: "string",
      valueHint: "n",
      description: "Serve /metrics (Prometheus) and /healthz on this port",
    },
    "metrics-host": {
      type: "string",
      description: "Address to serve them on",
      default: "127.0.0.1",
    },
    "log-format": {
      type: "enum",
      options: [...LOG_FORMATS],
      description: "Lines for people, or JSON objects",
      default: "text",
    },
    quiet: { type: "boolean", description: "Log refusals only, not each client" },
  },
  (args) => {
    const limitsFile = args["limits-file"];
    const limits = () =>
      limitsFrom({ ...args, ...(limitsFile === undefined ? {} : readLimitsFile(limitsFile)) });
    const keep = {
      bytes: wholeNumber("keep-bytes", args["keep-bytes"], 0, 2 ** 45),
      entries: wholeNumber("keep-entries", args["keep-entries"], 0, 2 ** 45),
      seconds: wholeNumber("keep-age", args["keep-age"], 0, 100 * 365 * DAY),
    };
    const maxRooms = wholeNumber("keep-rooms", args["keep-rooms"], 1, 10_000_000);
    const metrics = args["metrics-port"];
    if (args.data !== undefined && args.cluster !== undefined) {
      throw new ExitError(EXIT.USAGE, "--data or --cluster: a cluster keeps its rooms itself");
    }
    return serve({
      host: args.host,
      port: wholeNumber("port", args.port, 0, 65_535),
      limits,
      log: { detail: args.quiet ? "quiet" : "all", format: args["log-format"] },
      tls: tlsFiles(args["tls-cert"], args["tls-key"]),
      accessKey: accessKeyOf(args["access-file"]),
      store:
        args.data === undefined
          ? undefined
          : { folder: args.data, fsync: args.fsync, keep, maxRooms },
      cluster:
        args.cluster === undefined
          ? undefined
          : {
              servers: args.cluster,
              credentials: args["cluster-creds"],
              streams: wholeNumber("cluster-streams", args["cluster-streams"], 1, 1024),
              replicas: wholeNumber("cluster-replicas", args["cluster-replicas"], 1, 5),
              keepSeconds: keep.seconds,
            },
      metrics:
        metrics === undefined
          ? undefined
          : { host: args["metrics-host"], port: wholeNumber("metrics-port", metrics, 0, 65_535) },
    });
  },
);

function tlsFiles(cert: string | undefined, key: string | undefined): TlsFiles | undefined {
  if (cert !== undefined && key !== undefined) return { cert, key };
  if (cert === undefined && key === undefined) return undefined;
  throw new ExitError(EXIT.USAGE, "--tls-cert and --tls-key go together");
}

function accessKeyOf(path: string | undefined): Uint8Array | undefined {
  if (path === undefined) return undefined;
  return readKeyFile(path, `make it with "chat-client keygen --key-file ${path}"`);
}
