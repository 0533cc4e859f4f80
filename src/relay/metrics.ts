/** What the relay counts, as Prometheus reads it (text exposition format, version 0.0.4), and its health. */
import type { Server } from "bun";
import { CODES, type CodeName } from "../protocol/errors.ts";
import { hostPort } from "./address.ts";
import type { Limits } from "./limits.ts";

/** Numbers that only rise while the relay runs. Plain fields: they are on the way of every message. */
export class Counters {
  connections = 0;
  entries = 0;
  bytesIn = 0;
  bytesOut = 0;
  /** Entries that clients were told they had missed. */
  missed = 0;
  /** Batches of entries that were committed. */
  commits = 0;
  problems = 0;
  readonly refusals = new Map<CodeName, number>();

  refused(code: CodeName): void {
    this.refusals.set(code, (this.refusals.get(code) ?? 0) + 1);
  }
}

/** What is looked at when somebody asks. */
export interface Gauges {
  readonly connections: number;
  readonly rooms: number;
  readonly roomsKept: number;
  /** Memory of all rooms' newest entries, and of those that are on their way. */
  readonly memoryBytes: number;
  readonly stopping: boolean;
  readonly limits: Limits;
  /** What is wrong, if something is. */
  readonly trouble: string | undefined;
}

function line(name: string, value: number, labels = ""): string {
  return `chat_${name}${labels} ${value}\n`;
}

function metric(name: string, type: "counter" | "gauge", help: string, lines: string): string {
  return `# HELP chat_${name} ${help}\n# TYPE chat_${name} ${type}\n${lines}`;
}

/** The exposition's text. */
export function exposition(counters: Counters, gauges: Gauges): string {
  const counter = (name: string, help: string, value: number) =>
    metric(name, "counter", help, line(name, value));
  const gauge = (name: string, help: string, value: number) =>
    metric(name, "gauge", help, line(name, value));
  const refusals = Object.keys(CODES)
    .map((code) => [code, counters.refusals.get(code as CodeName) ?? 0] as const)
    .map(([code, n]) => line("refusals_total", n, `{code="${code}"}`));
  const limits = Object.entries(gauges.limits).map(([name, value]) =>
    line("limit", value, `{name="${name}"}`),
  );
  return [
    gauge("connections", "Open connections", gauges.connections),
    gauge("rooms", "Rooms in memory", gauges.rooms),
    gauge("rooms_kept", "Rooms in --data", gauges.roomsKept),
    gauge("rooms_bytes", "Memory of the rooms' newest entries", gauges.memoryBytes),
    counter("connections_total", "Connections accepted", counters.connections),
    counter("entries_total", "Entries received", counters.entries),
    counter("received_bytes_total", "Bytes received from clients", counters.bytesIn),
    counter("sent_bytes_total", "Bytes sent to clients", counters.bytesOut),
    counter("missed_total", "Entries that clients were told they had missed", counters.missed),
    counter("commits_total", "Batches of entries that were committed", counters.commits),
    counter("problems_total", "Things of the relay's own that went wrong", counters.problems),
    metric("refusals_total", "counter", "Clients refused, closed or slowed", refusals.join("")),
    metric("limit", "gauge", "Limits now in force, by name", limits.join("")),
    gauge("resident_bytes", "Memory of the process", process.memoryUsage.rss()),
    gauge("uptime_seconds", "Since the relay began", process.uptime()),
  ].join("");
}

/**
 * Serves /metrics and /healthz.
 * @throws what Bun.serve throws when it can't listen
 */
export function serveMetrics(
  host: string,
  port: number,
  counters: Counters,
  gauges: () => Gauges,
): Server<undefined> {
  return Bun.serve({
    hostname: host,
    port,
    routes: {
      "/metrics": () =>
        new Response(exposition(counters, gauges()), {
          headers: { "content-type": "text/plain; version=0.0.4" },
        }),
      "/healthz": () => {
        const { stopping, trouble } = gauges();
        if (stopping) return new Response("stopping\n", { status: 503 });
        if (trouble !== undefined) return new Response(`${trouble}\n`, { status: 503 });
        return new Response("ok\n");
      },
    },
    fetch: () => new Response("see /metrics and /healthz\n", { status: 404 }),
  });
}

/** Where it is served, for the log. */
export function metricsUrl(host: string, port: number): string {
  return `http://${hostPort(host, port)}/metrics`;
}
