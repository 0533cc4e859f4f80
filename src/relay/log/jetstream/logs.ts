/** The logs of rooms that several relays serve, all in JetStream. */
import { ProtocolError } from "../../../protocol/errors.ts";
import { reasonOf } from "../../../reason.ts";
import type { Runtime } from "../../../runtime.ts";
import type { Budget } from "../budget.ts";
import type { Log, LogEvents, Logs } from "../log.ts";
import type { Ring } from "../ring.ts";
import { JetStreamLog } from "./log.ts";
import type { Stream } from "./stream.ts";

export class JetStreamLogs implements Logs {
  /** Nobody counts what the stream holds. */
  readonly kept = 0;
  readonly #stream: Stream;
  readonly #runtime: Runtime;
  readonly #budget: Budget;

  constructor(stream: Stream, runtime: Runtime, budget: Budget) {
    this.#stream = stream;
    this.#runtime = runtime;
    this.#budget = budget;
  }

  get trouble(): string | undefined {
    return this.#stream.connected ? undefined : "the link to the cluster is down";
  }

  async open(key: string, ring: Ring, events: LogEvents): Promise<Log> {
    try {
      return await JetStreamLog.open(this.#stream, key, ring, this.#budget, this.#runtime, events);
    } catch (error) {
      if (error instanceof ProtocolError) throw error;
      const why = reasonOf(error);
      throw new Error(`room ${key.slice(0, 8)}: ${why}`);
    }
  }

  async expire(): Promise<void> {
    // The stream deletes by itself what it has kept for long enough.
  }

  async close(): Promise<void> {
    await this.#stream.close();
  }
}
