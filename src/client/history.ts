/**
 * A page of a room's earlier entries, read over a connection of its own, so that what comes now is not
 * held up. Nothing is sent but HELLO: the room does not learn of it.
 */
import type { Backend } from "../crypto/backend.ts";
import type { Entry } from "../protocol/entry.ts";
import { OpeningSessions, PAYLOAD_AT } from "../protocol/envelope.ts";
import { ProtocolError } from "../protocol/errors.ts";
import {
  type Missed,
  type Remark,
  TOKEN_BYTES,
  VERSION,
  type Welcome,
} from "../protocol/messages.ts";
import { decodePayload, type Payload } from "../protocol/payload.ts";
import { Link, type LinkHandler, type LinkOptions } from "./link.ts";

export interface HistoryOptions extends LinkOptions {
  readonly access: Uint8Array | undefined;
  readonly roomKey: Uint8Array;
  readonly roomId: Uint8Array;
  readonly backend: Backend;
}

/** The entries wanted: those of log `logId` from `first` to before `end`. */
export interface Range {
  readonly logId: Uint8Array;
  readonly first: number;
  readonly end: number;
}

export interface Past {
  readonly seq: number;
  readonly payload: Payload;
}

export interface Page {
  /** Oldest first; what was sent twice is there once. */
  readonly messages: readonly Past[];
  /** Entries that are not authentic, and are not among the messages. */
  readonly refused: number;
}

export class HistoryReader implements LinkHandler {
  readonly #link: Link;
  readonly #opening: OpeningSessions;
  readonly #range: Range;
  readonly #found: Past[] = [];
  readonly #known = new Set<string>();
  #refused = 0;
  readonly #done = Promise.withResolvers<Page>();

  constructor(options: HistoryOptions, range: Range) {
    const { access, roomKey, roomId, backend } = options;
    this.#range = range;
    this.#opening = new OpeningSessions(backend, roomKey, roomId);
    const hello = {
      minVersion: VERSION.min,
      maxVersion: VERSION.max,
      roomId,
      // Nobody's: it takes no other connection's place.
      token: new Uint8Array(TOKEN_BYTES),
      start: { kind: "after", logId: range.logId, seq: range.first - 1 } as const,
      ...(access === undefined ? {} : { access }),
    };
    this.#link = new Link(options, hello, this);
  }

  /** The messages among the entries. @throws Error that says why there are none */
  read(): Promise<Page> {
    return this.#done.promise;
  }

  welcome(welcome: Welcome): void {
    if (welcome.newLog) this.#fail("the relay no longer has that log");
    else if (welcome.start >= this.#range.end) this.#finish();
  }

  entry(entry: Entry): void {
    if (entry.seq < this.#range.end) this.#open(entry);
    if (entry.seq >= this.#range.end - 1) this.#finish();
  }

  #open(entry: Entry): void {
    const opened = this.#opening.open(entry.body);
    if (opened.verdict !== "ok") {
      this.#refused += 1;
      return;
    }
    try {
      const payload = decodePayload(opened.buffer, PAYLOAD_AT, opened.end);
      const name = `${Buffer.from(payload.sender).toString("hex")} ${payload.number}`;
      if (payload.number === 0 || this.#known.has(name)) return;
      this.#known.add(name);
      this.#found.push({ seq: entry.seq, payload });
    } catch (error) {
      if (!(error instanceof ProtocolError)) throw error;
      this.#refused += 1;
    }
  }

  gone(entry: Entry): void {
    if (entry.seq >= this.#range.end - 1) this.#finish();
  }

  missed(missed: Missed): void {
    this.#opening.excuseGaps();
    if (missed.first + missed.count >= this.#range.end) this.#finish();
  }

  notice(): void {
    // It concerns the connection that the chat has, too; there it is shown.
  }

  down(why: string, _remark: Remark | undefined): void {
    this.#fail(why);
  }

  #finish(): void {
    this.#link.close();
    this.#opening.close();
    this.#done.resolve({ messages: this.#found, refused: this.#refused });
  }

  #fail(why: string): void {
    this.#link.close();
    this.#opening.close();
    this.#done.reject(new Error(why));
  }
}
