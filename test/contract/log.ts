/** What every kind of log keeps to (src/relay/log/log.ts), whatever it is kept in. */
import { describe, expect, test } from "bun:test";
import { decodeEntry } from "../../src/protocol/entry.ts";
import { FrameParser, FrameType } from "../../src/protocol/frame.ts";
import { GUARANTEED_BYTES } from "../../src/relay/log/batch.ts";
import { Budget } from "../../src/relay/log/budget.ts";
import type { Log, LogEvents, Logs } from "../../src/relay/log/log.ts";
import { Ring } from "../../src/relay/log/ring.ts";

export interface LogWorld {
  readonly logs: Logs;
  /** The budget that the logs were made with. */
  readonly budget: Budget;
  /** Lets time pass until `condition` holds. @throws when it never does */
  until(condition: () => boolean): Promise<void>;
  /** Ends the logs, and gives others over what they kept. */
  reopened(): Promise<Logs>;
  end(): Promise<void>;
}

export interface Kind {
  readonly name: string;
  /** Whether entries outlive the log's closing. */
  readonly keeps: boolean;
  make(budget: Budget): Promise<LogWorld>;
}

interface Read {
  readonly seq: number;
  readonly from: number;
  readonly text: string;
}

function parse(frames: Uint8Array): Read[] {
  const read: Read[] = [];
  new FrameParser(1 << 20).feed(frames, (_, bytes, start, end) => {
    const { seq, from, body } = decodeEntry(bytes, start, end);
    read.push({ seq, from, text: Buffer.from(body).toString("latin1") });
    return undefined;
  });
  return read;
}

/** A log with a reader that takes all it is told of at once, as a client with an endless socket does. */
class Watched implements LogEvents {
  readonly read: Read[] = [];
  readonly refusals: ReadonlySet<number>[] = [];
  lostBy: unknown;
  ring: Ring;
  log!: Log;
  #next = 0;

  constructor(ring: Ring) {
    this.ring = ring;
  }

  static async open(logs: Logs, key: string, ring: Ring): Promise<Watched> {
    const watched = new Watched(ring);
    watched.log = await logs.open(key, ring, watched);
    watched.#next = ring.next;
    return watched;
  }

  committed(): void {
    const { ring } = this;
    if (this.#next < ring.oldest)
      throw new Error(`${this.#next} was overwritten before it was shown`);
    this.read.push(...parse(ring.copy(ring.positionOf(this.#next), ring.head)));
    this.#next = ring.next;
  }

  refused(connections: ReadonlySet<number>): void {
    this.refusals.push(connections);
  }

  lost(error: unknown): void {
    this.lostBy = error;
  }

  replaced(): undefined {
    // Nobody connects here.
  }

  append(from: number, text: string): void {
    const bytes = Buffer.from(text, "latin1");
    this.log.append(FrameType.ENTRY, from, bytes, 0, bytes.length);
    // What was handed in is the log's no more.
    bytes.fill(0);
  }

  /** All that can be had, through the ring and pages, from the oldest on. */
  async history(): Promise<Read[]> {
    const { log, ring } = this;
    const all: Read[] = [];
    let next = log.oldest;
    while (next < ring.oldest) {
      const page = await log.page(next);
      if (page === undefined) break;
      expect(page.first).toBeGreaterThanOrEqual(next);
      expect(page.next).toBeGreaterThan(page.first);
      const read = parse(page.bytes);
      expect(read.map(({ seq }) => seq)).toEqual(
        Array.from({ length: page.next - page.first }, (_, i) => page.first + i),
      );
      all.push(...read);
      next = page.next;
    }
    expect(next).toBeGreaterThanOrEqual(Math.min(next, ring.oldest));
    if (next < ring.oldest) next = ring.oldest;
    return [...all, ...parse(ring.copy(ring.positionOf(next), ring.head))];
  }
}

/** A room that no other test has used: what keeps logs may outlive one. */
const newRoom = () => Buffer.from(crypto.getRandomValues(new Uint8Array(32))).toString("hex");
const MIB = 1 << 20;

const texts = (count: number, size: (i: number) => number) =>
  Array.from({ length: count }, (_, i) => `${i}:`.padEnd(size(i), "."));

export function logContract({ name, keeps, make }: Kind): void {
  describe(`a log in ${name}`, () => {
    const within = async (
      memory: number,
      use: (
        world: LogWorld,
        open: (most: number, key?: string) => Promise<Watched>,
      ) => Promise<void>,
    ) => {
      const budget = new Budget(memory);
      const world = await make(budget);
      try {
        await use(world, (most, key = newRoom()) =>
          Watched.open(world.logs, key, new Ring(most, budget)),
        );
      } finally {
        await world.end();
      }
    };

    test("numbers entries one after the other and commits each once, in order, in its own room", () =>
      within(16 * MIB, async (world, open) => {
        const [one, other] = [await open(MIB), await open(MIB, newRoom())];
        const said = texts(500, (i) => (i * 37) % 900);
        for (const [i, text] of said.entries()) {
          one.append(i % 3, text);
          if (i % 5 === 0) other.append(9, `other ${i}`);
          if (i % 7 === 0) one.log.flush();
          if (i % 100 === 0) await world.until(() => one.read.length > i / 2);
        }
        one.log.flush();
        other.log.flush();
        await world.until(() => one.read.length >= 500 && other.read.length >= 100);
        expect(one.read).toEqual(said.map((text, i) => ({ seq: i + 1, from: i % 3, text })));
        expect(other.read.map(({ seq }) => seq)).toEqual(
          Array.from({ length: 100 }, (_, i) => i + 1),
        );
        expect(one.log.id).not.toEqual(other.log.id);
        expect([one.refusals, one.lostBy]).toEqual([[], undefined]);
        await one.log.close();
        await other.log.close();
      }));

    test("shows every entry of a burst of the smallest ones, however small its ring", () =>
      within(64 * MIB, async (world, open) => {
        const log = await open(4096);
        for (let turn = 0; turn < 2; turn++) {
          for (let i = 0; i < 13_000; i++) for (const from of [1, 2, 3]) log.append(from, "");
          log.log.flush();
          await world.until(() => log.read.length === (turn + 1) * 39_000);
        }
        expect(log.read.every(({ seq, from }, i) => seq === i + 1 && from === (i % 3) + 1)).toBe(
          true,
        );
        await log.log.close();
      }));

    test("takes an entry that is larger than its ring was meant to be", () =>
      within(16 * MIB, async (world, open) => {
        const log = await open(4096);
        const said = texts(5, (i) => (i % 2 === 0 ? 60_000 : 10));
        for (const text of said) log.append(1, text);
        log.log.flush();
        await world.until(() => log.read.length === 5);
        expect(log.read.map(({ text }) => text)).toEqual(said);
        await log.log.close();
      }));

    test("gives what the ring has no more as pages, or says that there is nothing", () =>
      within(16 * MIB, async (world, open) => {
        const log = await open(4096);
        const said = texts(800, (i) => (i * 13) % 400);
        for (const [i, text] of said.entries()) {
          log.append(1, text);
          if (i % 50 === 0) log.log.flush();
        }
        log.log.flush();
        await world.until(() => log.read.length === 800);
        expect(log.ring.oldest).toBeGreaterThan(600);
        if (!keeps) expect(await log.log.page(1)).toBeUndefined();
        const all = await log.history();
        expect(all).toEqual(log.read.slice(keeps ? 0 : log.ring.oldest - 1));
        expect(log.log.oldest).toBe(keeps ? 1 : log.ring.oldest);
        const page = await log.log.page(300);
        expect(page?.first).toBe(keeps ? 300 : undefined);
        await log.log.close();
      }));

    test("is fenced when all that came before is committed", () =>
      within(16 * MIB, async (world, open) => {
        const log = await open(MIB);
        for (let i = 0; i < 100; i++) log.append(i % 2, `${i}`);
        log.log.flush();
        let fenced = false;
        let before = 0;
        const done = log.log.fence("f".repeat(32), undefined).then(() => {
          fenced = true;
          before = log.ring.next;
        });
        await world.until(() => fenced);
        await done;
        log.append(2, "after");
        log.log.flush();
        await world.until(() => log.read.at(-1)?.text === "after");
        // Whatever came of the first hundred came before.
        expect(log.read.filter(({ seq }) => seq >= before).map(({ text }) => text)).toEqual([
          "after",
        ]);
        await log.log.close();
      }));

    test("takes no more than there is memory for, loses nothing of what it took, and gives all back", () =>
      within(MIB / 2, async (world, open) => {
        const log = await open(64 * 1024);
        const entry = "x".repeat(5000);
        let taken = 0;
        // A memory log takes all of it: what is shown needs no memory.
        for (let i = 0; i < 1000; i++) {
          try {
            log.append(1, entry);
            taken += 1;
          } catch (error) {
            expect(error).toMatchObject({ code: "relay-full" });
            break;
          }
        }
        expect(taken).toBeGreaterThan(10);
        log.log.flush();
        await world.until(() => log.read.length === taken);
        expect(log.read.map(({ seq }) => seq)).toEqual(
          Array.from({ length: taken }, (_, i) => i + 1),
        );
        // And what a room has in any case: a batch each that is written and that comes.
        expect(world.budget.used).toBeLessThanOrEqual(world.budget.total + 2 * GUARANTEED_BYTES);
        log.append(1, "and on");
        log.log.flush();
        await world.until(() => log.read.at(-1)?.text === "and on");
        await log.log.close();
        log.ring.close();
        expect(world.budget.used).toBe(0);
      }));

    test(keeps ? "goes on after it was closed, with its numbers and its name" : "begins anew", () =>
      within(16 * MIB, async (world, open) => {
        const room = newRoom();
        const log = await open(8192, room);
        const said = texts(300, (i) => 20 + ((i * 31) % 200));
        for (const text of said) log.append(1, text);
        // Closing keeps what is on its way.
        const closed = log.log.close();
        let done = false;
        void closed.then(() => {
          done = true;
        });
        await world.until(() => done);
        const logs = await world.reopened();
        const again = await Watched.open(logs, room, new Ring(8192, world.budget));
        again.append(2, "and on");
        again.log.flush();
        await world.until(() => again.read.length === 1);
        expect(again.read[0]?.seq).toBe(keeps ? 301 : 1);
        if (keeps) expect(again.log.id).toEqual(log.log.id);
        else expect(again.log.id).not.toEqual(log.log.id);
        if (keeps) {
          const all = await again.history();
          expect(all.map(({ text }) => text)).toEqual([...said, "and on"]);
        }
        await again.log.close();
      }),
    );

    test("is not begun by who only looks in", () =>
      within(16 * MIB, async (world, open) => {
        const log = await open(MIB);
        expect([log.log.oldest, log.ring.next, log.ring.capacity]).toEqual([1, 1, 0]);
        await log.log.close();
        expect(world.logs.kept).toBe(0);
      }));
  });
}
