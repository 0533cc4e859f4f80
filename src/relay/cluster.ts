/**
 * The connection of a relay to the others: NATS JetStream, where each room is a subject of one stream
 * (docs/operations.md, "More than one machine").
 */
import { readFileSync } from "node:fs";
import {
  type JetStreamClient,
  type JetStreamManager,
  jetstream,
  jetstreamManager,
} from "@nats-io/jetstream";
import { connect, credsAuthenticator, type NatsConnection } from "@nats-io/transport-node";
import type { Report } from "./report.ts";

export interface ClusterOptions {
  /** nats://HOST:PORT, several with commas. */
  readonly servers: string;
  /** A NATS credentials file; undefined for none. */
  readonly credentials: string | undefined;
  /** Copies of the stream that is made where there is none. */
  readonly replicas: number;
  /** How long entries are kept in a stream that is made, in seconds; 0 for ever. */
  readonly keepSeconds: number;
}

export const STREAM = "CHAT";
const SUBJECT = "chat.room.";

export class Cluster {
  readonly js: JetStreamClient;
  readonly jsm: JetStreamManager;
  readonly #connection: NatsConnection;
  readonly #report: Report;
  /** Unlike that of any other relay, or of this one's earlier runs. */
  readonly id = crypto.randomUUID();
  #connected = true;

  private constructor(
    connection: NatsConnection,
    js: JetStreamClient,
    jsm: JetStreamManager,
    report: Report,
  ) {
    this.#connection = connection;
    this.js = js;
    this.jsm = jsm;
    this.#report = report;
    void this.#watch();
  }

  /** Connects, and makes the stream where there is none. @throws Error that says what is wrong */
  static async join(options: ClusterOptions, report: Report): Promise<Cluster> {
    const { credentials } = options;
    const connection = await connect({
      servers: options.servers.split(","),
      name: "chat-server",
      // A link that is gone comes back or not: rooms say so when it lasts.
      maxReconnectAttempts: -1,
      reconnectTimeWait: 250,
      pingInterval: 2000,
      ...(credentials === undefined
        ? {}
        : { authenticator: credsAuthenticator(readFileSync(credentials)) }),
    });
    const jsm = await jetstreamManager(connection);
    await ensureStream(jsm, options);
    const cluster = new Cluster(connection, jetstream(connection), jsm, report);
    report.state(`in a cluster through ${connection.getServer()}`);
    return cluster;
  }

  /** The subject of a room. */
  subject(key: string): string {
    return `${SUBJECT}${key}`;
  }

  get connected(): boolean {
    return this.#connected;
  }

  async #watch(): Promise<void> {
    for await (const status of this.#connection.status()) {
      if (status.type === "disconnect") {
        this.#connected = false;
        this.#report.problem("the link to the cluster is down; rooms wait for it");
      } else if (status.type === "reconnect") {
        this.#connected = true;
        this.#report.state("the link to the cluster is back");
      }
    }
  }

  async close(): Promise<void> {
    await this.#connection.close();
  }
}

async function ensureStream(jsm: JetStreamManager, options: ClusterOptions): Promise<void> {
  try {
    await jsm.streams.info(STREAM);
    return;
  } catch {
    // There is none, or nobody who could say: making one tells.
  }
  await jsm.streams.add({
    name: STREAM,
    subjects: [`${SUBJECT}*`],
    num_replicas: options.replicas,
    max_age: options.keepSeconds * 1e9,
    allow_direct: true,
    // Nobody takes entries out of the middle of a room.
    deny_delete: true,
  });
}
