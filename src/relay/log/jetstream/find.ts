/** Finds a room's log in the stream. */
import { LOG_ID_BYTES } from "../../../protocol/messages.ts";
import type { Runtime } from "../../../runtime.ts";
import { commit } from "../commit.ts";
import type { Ring } from "../ring.ts";
import { decodeHead, runOf } from "./head.ts";
import type { Message, Stream } from "./stream.ts";

/** What was found when a log was opened. */
export interface State {
  readonly id: Uint8Array;
  readonly next: number;
  /** The first message that is of this log, and the number of its first entry. */
  readonly begin: number;
  readonly oldest: number;
  readonly seen: number;
  /** When the last message was taken, in milliseconds on the relay's clock. */
  readonly seenAt: number;
}

/** What the stream has of a room; its newest entries go into the ring. */
export async function find(
  stream: Stream,
  key: string,
  ring: Ring,
  runtime: Runtime,
): Promise<State> {
  const { clock } = runtime;
  const last = await stream.last(key);
  if (last === undefined) {
    const id = runtime.random(new Uint8Array(LOG_ID_BYTES));
    return { id, next: 1, begin: 1, oldest: 1, seen: 0, seenAt: clock.now() };
  }
  const head = decodeHead(last);
  const run = runOf(last, head);
  const begin = await beginning(stream, key, last);
  const oldest = runOf(begin, decodeHead(begin)).first;
  if (oldest > run.first) throw new Error(`message ${last.seq} of the stream is out of order`);
  ring.beginAt(run.first);
  if (run.next > run.first) commit(ring, [run], () => undefined);
  // The machines' clocks may differ: but never is it older than it can be, or younger than new.
  const age = Math.min(Math.max(0, clock.date() - last.time), stream.keepMs);
  const id = new Uint8Array(Buffer.from(head.log, "hex"));
  return {
    id,
    next: run.next,
    begin: begin.seq,
    oldest,
    seen: last.seq,
    seenAt: clock.now() - age,
  };
}

/** The first message that is of the same log as the last: of a stream that was deleted some may stay. */
async function beginning(stream: Stream, key: string, last: Message): Promise<Message> {
  const { log } = decodeHead(last);
  const at = async (seq: number) => {
    const message = await stream.from(key, seq);
    if (message !== undefined && message.seq <= last.seq) return message;
    throw new Error("what the cluster has of the room goes away; try again later");
  };
  let first = await at(1);
  if (decodeHead(first).log === log) return first;
  let [low, high] = [first.seq + 1, last.seq];
  first = last;
  while (low < high) {
    const middle = Math.floor((low + high) / 2);
    const message = await at(middle);
    if (decodeHead(message).log === log) [first, high] = [message, middle];
    else low = message.seq + 1;
  }
  return first;
}
