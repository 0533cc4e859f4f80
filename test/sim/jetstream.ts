/**
 * JetStream, played: what a cluster of NATS servers has (SimJetStream), and one relay's link to it
 * (SimStream), with whatever can go wrong on the way. Time and chance are the simulator's only.
 */
import {
  ConflictError,
  type FollowEvents,
  type Following,
  type Message,
  type Stream,
} from "../../src/relay/log/jetstream/stream.ts";
import { fraction, pause, type Runtime } from "../../src/runtime.ts";

/** How long an answer is waited for, in milliseconds. */
const ANSWER_MS = 2000;

/** The stream, as its leader has it. */
export class SimJetStream {
  readonly runtime: Runtime;
  /** How long messages are kept, in milliseconds; 0 for ever. */
  keepMs: number;
  /** Messages of all rooms that are kept; the oldest go. */
  maxMessages = Number.POSITIVE_INFINITY;
  #messages: (Message & { readonly key: string })[] = [];
  #seq = 0;
  #leaderlessUntil = Number.NEGATIVE_INFINITY;
  readonly #followings = new Set<SimFollowing>();

  constructor(runtime: Runtime, keepMs = 0) {
    this.runtime = runtime;
    this.keepMs = keepMs;
  }

  /** Whether there is somebody to ask. */
  get hasLeader(): boolean {
    return this.runtime.clock.now() >= this.#leaderlessUntil;
  }

  /** For so many milliseconds nobody leads: nothing is taken, and nothing can be read. */
  changeLeader(milliseconds: number): void {
    this.#leaderlessUntil = this.runtime.clock.now() + milliseconds;
  }

  /** What is kept of a room. */
  messages(key: string): Message[] {
    this.#expire();
    return this.#messages.filter((message) => message.key === key);
  }

  /** Messages of all rooms. */
  get size(): number {
    this.#expire();
    return this.#messages.length;
  }

  get followings(): number {
    return this.#followings.size;
  }

  #expire(): void {
    const { clock } = this.runtime;
    if (this.keepMs > 0) {
      this.#messages = this.#messages.filter(({ time }) => time + this.keepMs > clock.date());
    }
    const excess = this.#messages.length - this.maxMessages;
    if (excess > 0) this.#messages.splice(0, excess);
  }

  /** @throws ConflictError */
  take(
    key: string,
    headers: Readonly<Record<string, string>>,
    data: Uint8Array,
    after: number,
  ): number {
    const last = this.last(key)?.seq ?? 0;
    if (last !== after) throw new ConflictError(`the last message is ${last}, not ${after}`);
    this.#seq += 1;
    const time = this.runtime.clock.date();
    this.#messages.push({ key, seq: this.#seq, headers, data, time });
    for (const following of this.#followings) following.scan();
    return this.#seq;
  }

  last(key: string): Message | undefined {
    return this.messages(key).at(-1);
  }

  from(key: string, seq: number): Message | undefined {
    return this.messages(key).find((message) => message.seq >= seq);
  }

  /** Deletes what is kept of a room. */
  purge(key: string): void {
    this.#messages = this.#messages.filter((message) => message.key !== key);
  }

  /** Deletes one message, as an operator may. */
  remove(seq: number): void {
    this.#messages = this.#messages.filter((message) => message.seq !== seq);
  }

  /** Deletes the stream; whoever needs it makes it again, and its numbers begin anew. */
  dropStream(): void {
    this.#messages = [];
    this.#seq = 0;
    for (const following of [...this.#followings]) following.end(new Error("stream deleted"));
  }

  join(following: SimFollowing): void {
    this.#followings.add(following);
  }

  leave(following: SimFollowing): void {
    this.#followings.delete(following);
  }
}

/** What goes wrong on a link. Probabilities from 0 to 1; times in milliseconds. */
export interface Faults {
  /** One way takes so long, at least and at most. */
  latency: readonly [number, number];
  /** A publication is taken, and its answer lost. */
  lostAnswer: number;
  /** A publication gets lost. */
  lostRequest: number;
  /** A publication is taken for lost, and lands later: so much, at least and at most. */
  lateLanding: number;
  late: readonly [number, number];
  /** What is told comes so much later, at least and at most. */
  lag: readonly [number, number];
  /** Followings that begin now never tell anything. */
  silent: boolean;
  /** Following can't begin. */
  noFollowing: boolean;
}

/** Asks now, and says later what came of it. */
function answered<T>(question: () => T): () => T {
  try {
    const answer = question();
    return () => answer;
  } catch (error) {
    return () => {
      throw error;
    };
  }
}

/** One relay's link. */
export class SimStream implements Stream {
  readonly relayId: string;
  readonly server: SimJetStream;
  readonly faults: Faults = {
    latency: [1, 1],
    lostAnswer: 0,
    lostRequest: 0,
    lateLanding: 0,
    late: [0, 5000],
    lag: [0, 0],
    silent: false,
    noFollowing: false,
  };
  /** Publications that were tried. */
  published = 0;
  #connected = true;
  readonly #followings = new Set<SimFollowing>();

  constructor(server: SimJetStream) {
    this.server = server;
    const id = server.runtime.random(new Uint8Array(16));
    this.relayId = Buffer.from(id).toString("hex");
  }

  get keepMs(): number {
    return this.server.keepMs;
  }

  get connected(): boolean {
    return this.#connected;
  }

  /** The link is gone. Nobody knows what became of what was on it. */
  down(): void {
    this.#connected = false;
  }

  up(): void {
    this.#connected = true;
    for (const following of this.#followings) following.restart();
  }

  /** What is followed now ends. */
  endFollowings(why: unknown): void {
    for (const following of [...this.#followings]) following.end(why);
  }

  /** What is followed now falls silent for ever. */
  silenceFollowings(): void {
    for (const following of this.#followings) following.silent = true;
  }

  between([least, most]: readonly [number, number]): number {
    return least + (most - least) * fraction(this.server.runtime);
  }

  #happens(probability: number): boolean {
    return probability > 0 && fraction(this.server.runtime) < probability;
  }

  async #wait(milliseconds: number): Promise<void> {
    await pause(this.server.runtime.clock, milliseconds);
  }

  async #noAnswer(): Promise<never> {
    await this.#wait(ANSWER_MS);
    throw new Error("no answer");
  }

  /** There and back, if there is a way. */
  async #ask<T>(question: () => T): Promise<T> {
    if (!this.#connected) return await this.#noAnswer();
    await this.#wait(this.between(this.faults.latency));
    if (!this.#connected) return await this.#noAnswer();
    if (!this.server.hasLeader) {
      await this.#wait(this.between(this.faults.latency));
      throw new Error("no leader");
    }
    const answer = answered(question);
    await this.#wait(this.between(this.faults.latency));
    return this.#connected ? answer() : await this.#noAnswer();
  }

  async publish(
    key: string,
    headers: Readonly<Record<string, string>>,
    data: Uint8Array,
    after: number,
  ): Promise<number> {
    this.published += 1;
    const { faults, server } = this;
    const bytes = data.slice();
    const take = () => server.take(key, { ...headers }, bytes, after);
    if (this.#happens(faults.lateLanding)) {
      server.runtime.clock.after(this.between(faults.late), () => {
        try {
          take();
        } catch {
          // Another came first.
        }
      });
      return await this.#noAnswer();
    }
    if (this.#happens(faults.lostRequest)) return await this.#noAnswer();
    const lost = this.#happens(faults.lostAnswer);
    const seq = await this.#ask(take);
    return lost ? await this.#noAnswer() : seq;
  }

  last(key: string): Promise<Message | undefined> {
    return this.#ask(() => this.server.last(key));
  }

  from(key: string, seq: number): Promise<Message | undefined> {
    return this.#ask(() => this.server.from(key, seq));
  }

  async follow(key: string, seq: number, events: FollowEvents): Promise<Following> {
    await this.#ask(() => {
      if (this.faults.noFollowing) throw new Error("no consumer can be made");
    });
    // Of one whose answer got lost nobody hears: the server forgets it by itself.
    const following = new SimFollowing(this, key, seq, events);
    this.#followings.add(following);
    following.stopped = () => this.#followings.delete(following);
    following.scan();
    return following;
  }

  async close(): Promise<void> {
    this.down();
    for (const following of [...this.#followings]) following.stop();
  }
}

class SimFollowing implements Following {
  readonly #link: SimStream;
  readonly #key: string;
  readonly #events: FollowEvents;
  /** Number after the last message that is on its way, or was told. */
  #sent: number;
  #next: number;
  /** What is on its way, in order: two may arrive at one time, or nearly. */
  #way: Message[] = [];
  /** When the last one that is on its way arrives. */
  #arrives = 0;
  /** Rises when what is on its way gets lost. */
  #trip = 0;
  #over = false;
  silent: boolean;
  stopped: () => void = () => undefined;

  constructor(link: SimStream, key: string, seq: number, events: FollowEvents) {
    this.#link = link;
    this.#key = key;
    this.#events = events;
    this.#sent = this.#next = seq;
    this.silent = link.faults.silent;
    link.server.join(this);
  }

  /** Sends off what is new. */
  scan(): void {
    const { server, faults } = this.#link;
    const { clock } = server.runtime;
    if (this.#over || this.silent) return;
    for (const message of server.messages(this.#key)) {
      if (message.seq < this.#sent) continue;
      this.#sent = message.seq + 1;
      const way = this.#link.between(faults.latency) + this.#link.between(faults.lag);
      this.#arrives = Math.max(this.#arrives, clock.now() + way);
      const trip = this.#trip;
      this.#way.push(message);
      clock.after(Math.max(0, this.#arrives - clock.now()), () => {
        const first = trip === this.#trip ? this.#way.shift() : undefined;
        if (first !== undefined) this.#tell(first);
      });
    }
  }

  #tell(message: Message): void {
    // It will be sent again when the link is back.
    if (this.#over || this.silent || !this.#link.connected || message.seq < this.#next) return;
    this.#next = message.seq + 1;
    this.#events.message(message);
  }

  /** The link is back: goes on after what was told. */
  restart(): void {
    this.#trip += 1;
    this.#way = [];
    this.#sent = this.#next;
    this.scan();
  }

  end(why: unknown): void {
    if (this.#over) return;
    this.stop();
    this.#events.ended(why);
  }

  stop(): void {
    this.#over = true;
    this.#link.server.leave(this);
    this.stopped();
  }
}
