/**
 * The streams that rooms are spread over: CHAT-0, CHAT-1, ...; the subjects of the first are chat.0.ROOM.
 * Several relays may make them at the same time: the first stream's description says how many there are
 * to be, and whoever made that has decided it.
 */
import {
  JetStreamApiCodes,
  JetStreamApiError,
  type JetStreamManager,
  type StreamConfig,
} from "@nats-io/jetstream";

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

/** "stream name already in use with a different configuration" */
const NAME_IN_USE = 10058;

const streamName = (index: number) => `CHAT-${index}`;

export class NatsStreams {
  readonly #options: ClusterOptions;
  /** How long each stream keeps messages, in milliseconds; 0 for ever. */
  readonly #kept = new Map<string, number>();

  private constructor(options: ClusterOptions) {
    this.#options = options;
  }

  /** Makes the streams that there are not. @throws Error if there are more, or fewer, than that */
  static async ensure(jsm: JetStreamManager, options: ClusterOptions): Promise<NatsStreams> {
    const streams = new NatsStreams(options);
    const names: string[] = [];
    for await (const name of jsm.streams.names()) if (/^CHAT-\d+$/.test(name)) names.push(name);
    const [first] = names.sort();
    const config =
      first === undefined
        ? await streams.make(jsm, streamName(0))
        : (await jsm.streams.info(first)).config;
    // A stream that doesn't say how many there are is an older relay's, which made all at once.
    const said = config.description?.match(/^chat rooms, \d+ of (\d+)$/)?.[1];
    const count = Number(said ?? names.length);
    if (count !== options.streams) {
      throw new Error(
        `it has ${count} streams for chats, not ${options.streams}: --cluster-streams ${count}`,
      );
    }
    for (let index = 0; index < count; index++) await streams.make(jsm, streamName(index));
    return streams;
  }

  /**
   * Makes a stream, or finds what another has made of it.
   * @param name one of those that rooms are spread over
   * @returns how it is
   */
  async make(jsm: JetStreamManager, name: string): Promise<StreamConfig> {
    const { streams, replicas, keepSeconds } = this.#options;
    const index = Number(name.slice(streamName(0).length - 1));
    let config: StreamConfig;
    try {
      const made = await jsm.streams.add({
        name,
        description: `chat rooms, ${index + 1} of ${streams}`,
        subjects: [`chat.${index}.*`],
        num_replicas: replicas,
        max_age: keepSeconds * 1e9,
        // Nobody takes entries out of the middle of a room.
        deny_delete: true,
      });
      config = made.config;
    } catch (error) {
      if (!(error instanceof JetStreamApiError) || error.code !== NAME_IN_USE) throw error;
      config = (await jsm.streams.info(name)).config;
    }
    this.#kept.set(name, config.max_age / 1e6);
    return config;
  }

  /** How long messages are kept, in milliseconds, where that is shortest; 0 for ever. */
  get keepMs(): number {
    const limits = [...this.#kept.values()].filter((limit) => limit > 0);
    return limits.length === 0 ? 0 : Math.min(...limits);
  }

  /** Where a room is; its id is as good as random, so that rooms spread evenly. */
  place(key: string): Place {
    const index = Number.parseInt(key.slice(0, 12), 16) % this.#options.streams;
    return { stream: streamName(index), subject: `chat.${index}.${key}` };
  }
}

/** Whether a stream is not there. */
export function isMissing(error: unknown): boolean {
  return error instanceof JetStreamApiError && error.code === JetStreamApiCodes.StreamNotFound;
}
