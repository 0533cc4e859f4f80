/**
 * The connection of a relay to the others: NATS JetStream, where each room is a subject of one of so
 * many streams (docs/operations.md, "More than one machine").
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
  /** Streams that rooms are spread over; the same for all relays. */
  readonly streams: number;
  /** Copies of the streams that are made where there are none. */
  readonly replicas: number;
  /** How long entries are kept in streams that are made, in seconds; 0 for ever. */
  readonly keepSeconds: number;
}

/** Where a room is. */
export interface Place {
  readonly stream: string;
  readonly subject: string;
}

/** Streams are CHAT-0, CHAT-1, ...; the subjects of the first are chat.0.ROOM. */
const streamName = (index: number) => `CHAT-${index}`;

export class Cluster {
  readonly js: JetStreamClient;
  readonly jsm: JetStreamManager;
  readonly #connection: NatsConnection;
  readonly #report: Report;
  readonly #streams: number;
  /** Unlike that of any other relay, or of this one's earlier runs. */
  readonly id = crypto.randomUUID();
  #connected = true;

  private constructor(
    connection: NatsConnection,
    js: JetStreamClient,
    jsm: JetStreamManager,
    streams: number,
    report: Report,
  ) {
    this.#connection = connection;
    this.#streams = streams;
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
    try {
      const jsm = await jetstreamManager(connection);
      await ensureStreams(jsm, options);
      report.state(`in a cluster through ${connection.getServer()}`);
      return new Cluster(connection, jetstream(connection), jsm, options.streams, report);
    } catch (error) {
      await connection.close();
      throw error;
    }
  }

  /** Where a room is; its id is as good as random, so that rooms spread evenly. */
  place(key: string): Place {
    const index = Number.parseInt(key.slice(0, 12), 16) % this.#streams;
    return { stream: streamName(index), subject: `chat.${index}.${key}` };
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

async function ensureStreams(jsm: JetStreamManager, options: ClusterOptions): Promise<void> {
  const names: string[] = [];
  for await (const name of jsm.streams.names()) if (/^CHAT-\d+$/.test(name)) names.push(name);
  if (names.length > 0 && names.length !== options.streams) {
    throw new Error(
      `it has ${names.length} streams for chats, not ${options.streams}: --cluster-streams ${names.length}`,
    );
  }
  for (let index = names.length; index < options.streams; index++) {
    // Another relay may do the same just now: it makes the same streams.
    await jsm.streams.add({
      name: streamName(index),
      subjects: [`chat.${index}.*`],
      num_replicas: options.replicas,
      max_age: options.keepSeconds * 1e9,
      allow_direct: true,
      // Nobody takes entries out of the middle of a room.
      deny_delete: true,
    });
  }
}
