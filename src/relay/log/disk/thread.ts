/** The disk's thread as the event loop sees it: one life of it, from its start to its end. */
import { type CallName, type Calls, fromFault, type Word } from "./calls.ts";
import { closeLeft, descriptorTable } from "./descriptors.ts";

/** Where the thread's program is: beside this file, or in the executable (src/setup/build.ts). */
const PROGRAM = Bun.isStandaloneExecutable
  ? "/$bunfs/root/relay/log/disk/worker.js"
  : new URL("./worker.ts", import.meta.url).href;

interface Pending {
  resolve(value: unknown): void;
  reject(error: Error): void;
}

export interface ThreadEvents {
  /** How many rooms there are, with each answer. */
  rooms(count: number): void;
  problem(text: string): void;
}

export class Thread {
  readonly #worker: Worker;
  readonly #events: ThreadEvents;
  readonly #pending = new Map<number, Pending>();
  /** Descriptors that would outlive it. */
  readonly descriptors = descriptorTable();
  #lastId = 0;
  #ended: Error | undefined;
  readonly #gone = Promise.withResolvers<void>();

  constructor(events: ThreadEvents) {
    this.#events = events;
    this.#worker = new Worker(PROGRAM, { smol: true, name: "disk" });
    this.#worker.addEventListener("message", (event: MessageEvent<Word>) => this.#take(event.data));
    this.#worker.addEventListener("error", (event) => {
      // No line breaks, and no code around it: it goes into the relay's log.
      this.#end(event.message.match(/^error: (.*)$/m)?.[1] ?? "an error");
      this.#worker.terminate();
    });
    this.#worker.addEventListener("close", () => {
      this.#end("it is gone");
      closeLeft(this.descriptors);
      this.#gone.resolve();
    });
  }

  get alive(): boolean {
    return this.#ended === undefined;
  }

  /** Resolves when it has ended and has let go of all its files. */
  get gone(): Promise<void> {
    return this.#gone.promise;
  }

  /**
   * Asks the thread for something.
   * @param memory parts of `args` that are handed over, not copied
   * @throws what the thread says; Error when it ends before it answers
   */
  call<K extends CallName>(
    name: K,
    args: Calls[K][0],
    memory: ArrayBuffer[] = [],
  ): Promise<Calls[K][1]> {
    if (this.#ended !== undefined) return Promise.reject(this.#ended);
    this.#lastId += 1;
    const id = this.#lastId;
    const answered = new Promise<unknown>((resolve, reject) => {
      this.#pending.set(id, { resolve, reject });
    });
    this.#worker.postMessage({ id, name, with: args }, memory);
    return answered as Promise<Calls[K][1]>;
  }

  #take(word: Word): void {
    if ("problem" in word) {
      this.#events.problem(word.problem);
      return;
    }
    const pending = this.#pending.get(word.id);
    this.#pending.delete(word.id);
    this.#events.rooms(word.rooms);
    if ("fault" in word) pending?.reject(fromFault(word.fault));
    else pending?.resolve(word.value);
  }

  /** Ends it, whatever it is doing. What it has not answered is rejected. */
  kill(): void {
    this.#end("it was ended");
    this.#worker.terminate();
  }

  #end(why: string): void {
    if (this.#ended !== undefined) return;
    this.#ended = new Error(`the disk's thread has ended (${why})`);
    for (const { reject } of this.#pending.values()) reject(this.#ended);
    this.#pending.clear();
  }
}
