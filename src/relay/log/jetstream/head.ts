/** What a message's headers say of it: whose log it is of, and where in it. */
import { ENTRY_HEADER_BYTES } from "../../../protocol/entry.ts";
import { LENGTH_BYTES, readU64 } from "../../../protocol/frame.ts";
import { asRun, type Run } from "../run.ts";
import type { Message } from "./stream.ts";

const HEADER = {
  offer: "Chat-Id",
  log: "Chat-Log",
  next: "Chat-Next",
  replaces: "Chat-Replaces",
} as const;

export interface Head {
  /** Unlike that of any other offer: an offer that is repeated has the same. */
  readonly offer: string;
  /** The log's id, in hexadecimal. */
  readonly log: string;
  /** Number after the message's last entry, also in a message without entries. */
  readonly next: number;
  /** The client with this token has connected again: its older connections are to be heard no more. */
  readonly replaces: string | undefined;
}

export function encodeHead(head: Head): Record<string, string> {
  return {
    [HEADER.offer]: head.offer,
    [HEADER.log]: head.log,
    [HEADER.next]: String(head.next),
    ...(head.replaces === undefined ? {} : { [HEADER.replaces]: head.replaces }),
  };
}

/** @throws Error for a message that no relay has made */
export function decodeHead(message: Message): Head {
  const { headers } = message;
  const next = Number(headers[HEADER.next] || Number.NaN);
  const log = headers[HEADER.log] ?? "";
  if (!Number.isSafeInteger(next) || next < 1 || !/^[0-9a-f]{32}$/.test(log)) {
    throw new Error(`message ${message.seq} of the stream is not a relay's`);
  }
  const replaces = headers[HEADER.replaces];
  return { offer: headers[HEADER.offer] ?? "", log, next, replaces: replaces || undefined };
}

/** A message's entries; `first` equals `next` where there are none. @throws Error if it isn't whole */
export function runOf(message: Message, { next }: Head): Run {
  const { data } = message;
  const whole = data.length >= ENTRY_HEADER_BYTES;
  const run = asRun(whole ? readU64(data, LENGTH_BYTES + 1) : next, data);
  if (run === undefined || run.next !== next) {
    throw new Error(`message ${message.seq} of the stream is no run of entries`);
  }
  return run;
}
