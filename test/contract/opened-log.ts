/** A room's log as a relay has it, and what a test wants to know of it. */
import { ENTRY_HEADER_BYTES } from "../../src/protocol/entry.ts";
import { FrameType, LENGTH_BYTES, readU32, readU64 } from "../../src/protocol/frame.ts";
import { Budget } from "../../src/relay/log/budget.ts";
import { JetStreamLog } from "../../src/relay/log/jetstream/log.ts";
import type { Stream } from "../../src/relay/log/jetstream/stream.ts";
import { Ring } from "../../src/relay/log/ring.ts";
import type { Runtime } from "../../src/runtime.ts";

export interface Read {
  readonly seq: number;
  readonly from: number;
  readonly text: string;
}

export function parse(frames: Uint8Array): Read[] {
  const entries: Read[] = [];
  for (let at = 0; at < frames.length; ) {
    const end = at + LENGTH_BYTES + readU32(frames, at);
    entries.push({
      seq: readU64(frames, at + LENGTH_BYTES + 1),
      from: readU32(frames, at + LENGTH_BYTES + 9),
      text: new TextDecoder().decode(frames.subarray(at + ENTRY_HEADER_BYTES, end)),
    });
    at = end;
  }
  return entries;
}

export class OpenedLog {
  readonly budget: Budget;
  readonly ring: Ring;
  /** What was shown, as it was shown. */
  readonly shown: Read[] = [];
  readonly refused: number[][] = [];
  readonly lost: unknown[] = [];
  readonly replaced: string[] = [];
  /** The connection of a client's, by its token. */
  readonly holders = new Map<string, number>();
  #log: JetStreamLog | undefined;
  #position = 0;

  private constructor(ringBytes: number, budget: Budget) {
    this.budget = budget;
    this.ring = new Ring(ringBytes, budget);
  }

  static async open(
    stream: Stream,
    key: string,
    runtime: Runtime,
    { ringBytes = 1 << 20, budgetBytes = 64 << 20 } = {},
  ): Promise<OpenedLog> {
    const opened = new OpenedLog(ringBytes, new Budget(budgetBytes));
    opened.#log = await JetStreamLog.open(stream, key, opened.ring, opened.budget, runtime, {
      committed: () => opened.#show(),
      refused: (connections) => void opened.refused.push([...connections]),
      lost: (error) => void opened.lost.push(error),
      replaced: (token) => {
        opened.replaced.push(token);
        return opened.holders.get(token);
      },
    });
    opened.#show();
    return opened;
  }

  get log(): JetStreamLog {
    if (this.#log === undefined) throw new Error("it is not open");
    return this.#log;
  }

  get id(): string {
    return Buffer.from(this.log.id).toString("hex");
  }

  get texts(): string[] {
    return this.shown.map(({ text }) => text);
  }

  #show(): void {
    const { ring } = this;
    this.shown.push(...parse(ring.copy(this.#position, ring.head)));
    this.#position = ring.head;
  }

  append(text: string, from = 1): void {
    const body = new TextEncoder().encode(text);
    this.log.append(FrameType.ENTRY, from, body, 0, body.length);
  }

  send(text: string, from = 1): void {
    this.append(text, from);
    this.log.flush();
  }

  /** All entries from `seq` on, as a reader gets them: pages, then the ring. */
  async read(seq: number): Promise<Read[]> {
    const entries: Read[] = [];
    for (let next = seq; next < this.ring.oldest; ) {
      const page = await this.log.page(next);
      if (page === undefined) break;
      const read = parse(page.bytes);
      if (read.some(({ seq }, i) => seq !== page.first + i) || page.first < next) {
        throw new Error(`a page that is no run: ${read.map(({ seq }) => seq)}`);
      }
      entries.push(...read);
      next = page.next;
    }
    const { ring } = this;
    const start = Math.max(ring.oldest, seq, (entries.at(-1)?.seq ?? 0) + 1);
    return [...entries, ...parse(ring.copy(ring.positionOf(start), ring.head))];
  }
}
