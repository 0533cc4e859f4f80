/** The command line of ./chat-server. */
import { readFileSync } from "node:fs";
import { EXIT, ExitError } from "../cli/exit.ts";
import { defineCommand } from "../cli/program.ts";
import { DEFAULT_PORT, wholeNumber } from "../cli/values.ts";
import { MAX_FRAME } from "../protocol/frame.ts";
import { VERSION } from "../version.ts";
import { DEFAULT_LIMITS, type Limits } from "./limits.ts";
import { Relay } from "./relay.ts";
import { ConsoleReport } from "./report.ts";

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
    serve(args.host, wholeNumber("port", args.port, 0, 65_535), limits, args.quiet === true);
  },
);

function serve(host: string, port: number, wanted: Limits, quiet: boolean): void {
  const report = new ConsoleReport(quiet ? "quiet" : "all");
  const limits = { ...wanted, maxConnections: affordable(wanted.maxConnections, report) };
  const relay = listen(host, port, limits, report);
  for (const signal of ["SIGTERM", "SIGINT"] as const) {
    process.on(signal, () => void relay.stop(signal).then(() => process.exit(EXIT.OK)));
  }
}

function listen(host: string, port: number, limits: Limits, report: ConsoleReport): Relay {
  try {
    return new Relay({ host, port, limits, report });
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

/** As many connections as the open-file limit lets there be. */
function affordable(wanted: number, report: ConsoleReport): number {
  const soft = readFileSync("/proc/self/limits", "utf8").match(/^Max open files\s+(\d+)/m)?.[1];
  if (soft === undefined || Number(soft) >= wanted + OTHER_FILES) return wanted;
  const fewer = Math.max(1, Number(soft) - OTHER_FILES);
  report.refusal(
    `only ${fewer} connections: the open-file limit is ${soft}; raise it (ulimit -n ${wanted + OTHER_FILES})`,
  );
  return fewer;
}
