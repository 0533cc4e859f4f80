/** How tests join a real nats-server. */
import type { ClusterOptions } from "../../src/relay/log/jetstream/streams.ts";
import type { Report } from "../../src/relay/report.ts";
import type { Nats } from "../support/nats.ts";

export const silentReport: Report = {
  state: () => undefined,
  info: () => undefined,
  refusal: () => undefined,
  problem: () => undefined,
  sweep: () => undefined,
};

export function clusterOptions(
  nats: Nats,
  options: { readonly streams?: number; readonly keepSeconds?: number },
): ClusterOptions {
  const defaults = { credentials: undefined, replicas: 1, streams: 1, keepSeconds: 0 };
  return { servers: nats.url, ...defaults, ...options };
}
