/**
 * What a room's log needs of JetStream. NATS (nats.ts) gives it; the simulator's stream too. Both pass
 * one contract suite (test/contract/jetstream.ts).
 */

/** A message that the stream holds. */
export interface Message {
  /** Its number in the stream: rises from message to message, and is never given twice. */
  readonly seq: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly data: Uint8Array;
  /** When the stream took it, in milliseconds since 1970 on its clock. */
  readonly time: number;
}

/** The subject's last message is another than the publisher thought. Nothing was taken. */
export class ConflictError extends Error {
  override name = "ConflictError";
}

/** Being told of a subject's messages as they come. */
export interface Following {
  stop(): void;
}

export interface FollowEvents {
  /** The next message of the subject; each one once, in order. */
  message(message: Message): void;
  /** No more will be told, though nobody said stop. */
  ended(why: unknown): void;
}

export interface Stream {
  /** Unlike that of any other relay, or of this one's earlier runs. */
  readonly relayId: string;
  /** How long messages are kept, in milliseconds; 0 for ever. */
  readonly keepMs: number;
  /** Whether the link is up. */
  readonly connected: boolean;
  /**
   * Publishes to a room's subject if `after` is the number of its last message, 0 for none. Settles
   * within some seconds; `data` may be read until it does, and later if the fate is unknown.
   * @returns the message's number in the stream
   * @throws ConflictError; any other error leaves it unknown whether the stream has it, or will
   */
  publish(
    key: string,
    headers: Readonly<Record<string, string>>,
    data: Uint8Array,
    after: number,
  ): Promise<number>;
  /**
   * The room's last message, as the stream's leader has it; undefined for none. A stream that somebody
   * has deleted is made again.
   * @throws Error when the leader can't be asked
   */
  last(key: string): Promise<Message | undefined>;
  /**
   * The room's first message from number `seq` of the stream on, as the leader has it; undefined for none.
   * @throws Error when the leader can't be asked
   */
  from(key: string, seq: number): Promise<Message | undefined>;
  /**
   * Tells of the room's messages from number `seq` of the stream on. It may lag, end, or fall silent.
   * @throws Error when it can't begin
   */
  follow(key: string, seq: number, events: FollowEvents): Promise<Following>;
  close(): Promise<void>;
}
