/** Logs whose state a checker may look at: the relay's own, with a list of those that are open. */
import type { Log, LogEvents, Logs } from "../../src/relay/log/log.ts";
import type { Ring } from "../../src/relay/log/ring.ts";

export class WatchedLogs implements Logs {
  readonly #logs: Logs;
  readonly #open = new Map<string, Log>();

  constructor(logs: Logs) {
    this.#logs = logs;
  }

  get kept(): number {
    return this.#logs.kept;
  }

  get trouble(): string | undefined {
    return this.#logs.trouble;
  }

  /** The log of a room that is open, by its name and its id in hexadecimal. */
  find(key: string, id: string): Log | undefined {
    const log = this.#open.get(key);
    return log !== undefined && Buffer.from(log.id).toString("hex") === id ? log : undefined;
  }

  async open(key: string, ring: Ring, events: LogEvents): Promise<Log> {
    const log = await this.#logs.open(key, ring, events);
    this.#open.set(key, log);
    return log;
  }

  expire(): Promise<void> {
    return this.#logs.expire();
  }

  close(): Promise<void> {
    return this.#logs.close();
  }
}
