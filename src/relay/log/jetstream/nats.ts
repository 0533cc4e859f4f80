/** The stream of a NATS server, or of a cluster of them (docs/operations.md, "More than one machine"). */
import { readFileSync } from "node:fs";
import {
  DeliverPolicy,
  JetStreamApiCodes,
  JetStreamApiError,
  type JetStreamClient,
  type JetStreamManager,
  type JsMsg,
  jetstream,
  jetstreamManager,
  type StoredMsg,
} from "@nats-io/jetstream";
import {
  connect,
  credsAuthenticator,
  headers,
  type MsgHdrs,
  type NatsConnection,
} from "@nats-io/transport-node";
import type { Report } from "../../report.ts";
import {
  ConflictError,
  type FollowEvents,
  type Following,
  type Message,
  type Stream,
} from "./stream.ts";
import { type ClusterOptions, isMissing, NatsStreams } from "./streams.ts";

export type { ClusterOptions } from "./streams.ts";

/** How long an answer may take, in milliseconds. */
const ANSWER_MS = 2000;

export class NatsStream implements Stream {
  readonly relayId = crypto.randomUUID();
  readonly #connection: NatsConnection;
  readonly #js: JetStreamClient;
  readonly #jsm: JetStreamManager;
  readonly #streams: NatsStreams;
  readonly #report: Report;
  #connected = true;

  private constructor(
    connection: NatsConnection,
    jsm: JetStreamManager,
    streams: NatsStreams,
    report: Report,
  ) {
    this.#connection = connection;
    this.#js = jetstream(connection, { timeout: ANSWER_MS });
    this.#jsm = jsm;
    this.#streams = streams;
    this.#report = report;
    void this.#watch();
  }

  /** Connects, and makes the streams where there are none. @throws Error that says what is wrong */
  static async join(options: ClusterOptions, report: Report): Promise<NatsStream> {
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
      const jsm = await jetstreamManager(connection, { timeout: ANSWER_MS });
      const streams = await NatsStreams.ensure(jsm, options);
      report.state(`in a cluster through ${connection.getServer()}`);
      return new NatsStream(connection, jsm, streams, report);
    } catch (error) {
      await connection.close();
      throw error;
    }
  }

  get keepMs(): number {
    return this.#streams.keepMs;
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

  async publish(
    key: string,
    fields: Readonly<Record<string, string>>,
    data: Uint8Array,
    after: number,
  ): Promise<number> {
    const given = headers();
    for (const [name, value] of Object.entries(fields)) given.set(name, value);
    try {
      const ack = await this.#js.publish(this.#streams.place(key).subject, data, {
        headers: given,
        expect: { lastSubjectSequence: after },
        timeout: ANSWER_MS,
        retries: 1,
      });
      return ack.seq;
    } catch (error) {
      throw isConflict(error)
        ? new ConflictError("another message came first", { cause: error })
        : error;
    }
  }

  async last(key: string): Promise<Message | undefined> {
    const { stream, subject } = this.#streams.place(key);
    const query = { last_by_subj: subject };
    try {
      return await this.#get(stream, query);
    } catch (error) {
      if (!isMissing(error)) throw error;
      // Somebody has deleted it. Only here it is made again, not as soon as its consumers end: while a
      // server still deletes a stream, it may delete the files of a new one of the same name.
      await this.#streams.make(this.#jsm, stream);
      return await this.#get(stream, query);
    }
  }

  async from(key: string, seq: number): Promise<Message | undefined> {
    const { stream, subject } = this.#streams.place(key);
    return await this.#get(stream, { seq, next_by_subj: subject });
  }

  /** Only the leader answers this kind of request (STREAM.MSG.GET; direct ones any replica does). */
  async #get(
    stream: string,
    query: { last_by_subj: string } | { seq: number; next_by_subj: string },
  ): Promise<Message | undefined> {
    return stored(await this.#jsm.streams.getMessage(stream, query));
  }

  async follow(key: string, seq: number, events: FollowEvents): Promise<Following> {
    const { stream, subject } = this.#streams.place(key);
    const consumer = await this.#js.consumers.get(stream, {
      filter_subjects: subject,
      deliver_policy: DeliverPolicy.StartSequence,
      opt_start_seq: seq,
    });
    const messages = await consumer.consume({
      callback: (message) => events.message(told(message)),
      // What a broken link costs until it is noticed.
      idle_heartbeat: 1000,
      expires: 5000,
      // Else it would wait without a word for a consumer, or a stream, that is there no more.
      abort_on_missing_resource: true,
    });
    let stopped = false;
    const ended = (why: unknown) => {
      if (!stopped) events.ended(why);
    };
    messages.closed().then((error) => ended(error ?? new Error("the consumer has ended")), ended);
    return {
      stop: () => {
        stopped = true;
        messages.stop();
        // The server would keep it for minutes. If it can't be told, it forgets it by itself.
        if (!this.#connection.isClosed()) consumer.delete().catch(() => undefined);
      },
    };
  }

  async close(): Promise<void> {
    await this.#connection.close();
  }
}

function isConflict(error: unknown): boolean {
  return (
    error instanceof JetStreamApiError && error.code === JetStreamApiCodes.StreamWrongLastSequence
  );
}

function fieldsOf(given: MsgHdrs | undefined): Record<string, string> {
  const fields: Record<string, string> = {};
  for (const name of given?.keys() ?? []) fields[name] = given?.get(name) ?? "";
  return fields;
}

function stored(message: StoredMsg | null): Message | undefined {
  if (message === null) return undefined;
  const { seq, header, data, time } = message;
  return { seq, headers: fieldsOf(header), data, time: time.getTime() };
}

function told(message: JsMsg): Message {
  const { seq, data, time } = message;
  return { seq, headers: fieldsOf(message.headers), data, time: time.getTime() };
}
