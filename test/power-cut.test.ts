/**
 * A relay's machine loses its power under load, again and again: what was acknowledged is there
 * afterwards, as far as the policy promises it (docs/operations.md).
 */
import { afterEach, expect } from "bun:test";
import { SERVER, until } from "./support/programs.ts";
import { RawClient } from "./support/raw-client.ts";
import { vmTest } from "./support/vm.ts";
import { FATES, type Fate, RelayGuest, type RelayGuestOptions } from "./vm/power.ts";

/** How often the power is cut with `always`; with `second`, which wants longer loads, a seventh of it. */
const CUTS = Number(process.env.CHAT_POWER_CUTS ?? (process.env.CI ? 20 : 4));
const ROOMS = [1, 2, 3].map((byte) => new Uint8Array(32).fill(byte));
const SENDERS_PER_ROOM = 2;
/** Messages that a sender has under way: little enough for the socket to take all of it. */
const WINDOW = 12;
const GREATEST_TEXT = 900;

/** How long a client may have to wait for the guest, in milliseconds. */
const PATIENCE_MS = 120_000;
/** Enough for a boot and a load on a machine that has much else to do, in milliseconds. */
const MS_PER_CUT = 120_000;

/**
 * What `second` may lose: what came in the last second or so. The rest is for the sync itself, and for
 * an emulated machine that waits for a processor.
 */
const SECOND_MS = 1000 + 4000;

/** One entry as it was received: of a client, or that one has gone. */
interface Line {
  readonly seq: number;
  readonly text: string;
  /** When somebody had it first, on performance.now()'s clock. */
  readonly at: number;
}

/** What somebody got of a room, which is what the relay may not lose. */
interface Log {
  readonly id: string;
  readonly lines: readonly Line[];
}

const EMPTY: Log = { id: "", lines: [] };

const gone = (from: number, reason: number) => `gone ${from} ${reason}`;
const isGone = (text: string) => text.startsWith("gone ");
const idOf = (client: RawClient) => Buffer.from(client.welcomed?.logId ?? []).toString("hex");

/** What a client has received that was not looked at yet. */
class Ear {
  readonly client: RawClient;
  #entries = 0;
  #gone = 0;

  constructor(client: RawClient) {
    this.client = client;
  }

  news(at: number): Line[] {
    const entries = this.client.entries.slice(this.#entries);
    const ends = this.client.gone.slice(this.#gone);
    this.#entries += entries.length;
    this.#gone += ends.length;
    return [
      ...entries.map(({ seq, text }) => ({ seq, text, at })),
      ...ends.map(({ seq, from, reason }) => ({ seq, text: gone(from, reason), at })),
    ];
  }
}

/** Somebody who always has a few messages under way, which nobody else sends. */
class Sender extends Ear {
  static #senders = 0;
  readonly name = `s${Sender.#senders++}:`;
  sent = 0;
  acknowledged = 0;

  fill(): void {
    while (!this.client.closed && this.sent - this.acknowledged < WINDOW) {
      const text = `${this.name}${this.sent++}:`;
      this.client.send(text.padEnd(text.length + Math.random() ** 3 * GREATEST_TEXT, "."));
    }
  }

  override news(at: number): Line[] {
    const lines = super.news(at);
    this.acknowledged += lines.filter(({ text }) => text.startsWith(this.name)).length;
    return lines;
  }
}

/** One room between two cuts: a reader, senders, and all that any of them has got. */
class Session {
  readonly #lines = new Map<number, Line>();
  readonly #reader: Ear;
  readonly senders: readonly Sender[];

  private constructor(reader: RawClient, senders: readonly Sender[]) {
    this.#reader = new Ear(reader);
    this.senders = senders;
    this.listen();
  }

  /** Reads all that is kept of a room; then senders come in. */
  static async begin(port: number, room: Uint8Array): Promise<{ kept: Log; session: Session }> {
    const reader = await RawClient.join(port, { room, start: { kind: "last", count: 1e9 } });
    const last = (reader.welcomed?.next ?? 0) - 1;
    const first = reader.welcomed?.oldest ?? 0;
    const received = () => reader.entries.length + reader.gone.length;
    await until("all that is kept", () => received() > last - first, PATIENCE_MS);
    expect(reader.missed).toEqual([]);
    const kept = { id: idOf(reader), lines: new Ear(reader).news(0).toSorted(bySeq) };
    const senders: Sender[] = [];
    for (let i = 0; i < SENDERS_PER_ROOM; i++) {
      senders.push(new Sender(await RawClient.join(port, { room })));
    }
    return { kept, session: new Session(reader, senders) };
  }

  listen(): void {
    const now = performance.now();
    for (const ear of [this.#reader, ...this.senders]) {
      for (const line of ear.news(now)) {
        // Nobody gets another entry than others by the same number.
        expect(this.#lines.get(line.seq)?.text ?? line.text).toBe(line.text);
        if (!this.#lines.has(line.seq)) this.#lines.set(line.seq, line);
      }
    }
  }

  get isOver(): boolean {
    return [this.#reader, ...this.senders].every(({ client }) => client.closed);
  }

  get log(): Log {
    return {
      id: idOf(this.#reader.client),
      lines: [...this.#lines.values()].toSorted(bySeq),
    };
  }
}

const bySeq = (a: Line, b: Line) => a.seq - b.seq;

/**
 * What is kept must be what was acknowledged, from its beginning on and without a hole; then, perhaps,
 * more of what was sent. Ends of connections may be among it.
 * @returns what is lost
 */
function compare(before: Log, kept: Log, senders: readonly Sender[]): readonly Line[] {
  for (const { lines } of [before, kept]) {
    expect(lines.map(({ seq }) => seq)).toEqual(lines.map((_, i) => (lines[0]?.seq ?? 0) + i));
  }
  const common = Math.min(before.lines.length, kept.lines.length);
  const texts = (log: Log) => log.lines.map(({ text }) => text);
  const [had, has] = [texts(before), texts(kept)];
  expect(has.slice(0, common)).toEqual(had.slice(0, common));
  const more = has.slice(common).filter((text) => !isGone(text));
  for (const text of more) {
    const sender = senders.find(({ name }) => text.startsWith(name));
    expect(Number(text.split(":")[1])).toBeLessThan(sender?.sent ?? 0);
  }
  // Once each, in the order in which they were sent, and none left out.
  for (const { name } of senders) {
    const numbers = has.filter((text) => text.startsWith(name)).map((text) => text.split(":")[1]);
    expect(numbers).toEqual(numbers.map((_, i) => String(i)));
  }
  return before.lines.slice(common);
}

interface Outcome {
  /** When the power was cut, on performance.now()'s clock. */
  readonly cutAt: number;
  readonly fate: Fate;
  readonly rooms: readonly { before: Log; kept: Log; lost: readonly Line[] }[];
}

interface Plan extends Pick<RelayGuestOptions, "fsync" | "mountOptions"> {
  readonly cuts: number;
  readonly fates?: readonly Fate[];
  /** How long the load lasts at least and at most, in milliseconds. */
  readonly load: readonly [number, number];
}

let machine: RelayGuest | undefined;
afterEach(async () => {
  await machine?.remove();
  machine = undefined;
});

const random = (least: number, most: number) => least + Math.random() * (most - least);

/** Load until a moment that nobody knows, and the power is gone. @returns when, and what the disk lost */
async function loadAndCut(sessions: readonly Session[], fate: Fate, load: Plan["load"]) {
  const senders = sessions.flatMap((session) => session.senders);
  const listen = () => {
    for (const session of sessions) session.listen();
  };
  // The clock of the load begins when the relay has shown that it works.
  await until(
    "the first entries",
    () => {
      listen();
      for (const sender of senders) sender.fill();
      return senders.every(({ acknowledged }) => acknowledged > 0);
    },
    PATIENCE_MS,
  );
  const end = performance.now() + random(...load);
  while (performance.now() < end) {
    listen();
    for (const sender of senders) sender.fill();
    await Bun.sleep(1);
  }
  expect(senders.filter(({ client }) => client.closed)).toEqual([]);
  const cutAt = performance.now();
  const lostSectors = (await machine?.cut(fate)) ?? 0;
  await until("all connections to end", () => sessions.every(({ isOver }) => isOver), PATIENCE_MS);
  listen();
  return { cutAt, lostSectors };
}

/** Loads and cuts, and looks at what is left after each. */
async function cutAgainAndAgain(plan: Plan, look: (outcome: Outcome) => void): Promise<void> {
  const began = performance.now();
  machine = await RelayGuest.create({ program: SERVER, ...plan });
  let logs: readonly Log[] = ROOMS.map(() => EMPTY);
  let sent: readonly (readonly Sender[])[] = ROOMS.map(() => []);
  let last: { cutAt: number; fate: Fate } | undefined;
  const total = { acknowledged: 0, lost: 0, lostSectors: 0 };
  for (let cut = 0; cut <= plan.cuts; cut++) {
    const port = await machine.on();
    const begun = await Promise.all(ROOMS.map((room) => Session.begin(port, room)));
    expect(await machine.complaints()).toBe("");
    if (last !== undefined) {
      const rooms = begun.map(({ kept }, i) => {
        const before = logs[i] ?? EMPTY;
        return { before, kept, lost: compare(before, kept, sent[i] ?? []) };
      });
      look({ ...last, rooms });
      total.lost += rooms.reduce((sum, { lost }) => sum + lost.length, 0);
    }
    if (cut === plan.cuts) break;
    const sessions = begun.map(({ session }) => session);
    const fate = (plan.fates ?? FATES)[cut % (plan.fates ?? FATES).length] as Fate;
    const { cutAt, lostSectors } = await loadAndCut(sessions, fate, plan.load);
    last = { cutAt, fate };
    logs = sessions.map(({ log }) => log);
    sent = sessions.map(({ senders }) => senders);
    total.lostSectors += lostSectors;
    total.acknowledged += sent.flat().reduce((sum, { acknowledged }) => sum + acknowledged, 0);
  }
  console.log(
    `--fsync ${plan.fsync}${plan.mountOptions ? `, ${plan.mountOptions}` : ""}: ${plan.cuts} cuts,`,
    `${total.acknowledged} entries acknowledged, ${total.lost} lost; the disk flushed`,
    `${machine.flushes} times and lost ${total.lostSectors} sectors;`,
    `${Math.round((performance.now() - began) / 1000)} s`,
  );
}

vmTest(
  `--fsync always: nothing acknowledged is lost, ${CUTS} times`,
  async () => {
    await cutAgainAndAgain({ fsync: "always", cuts: CUTS, load: [50, 1500] }, ({ rooms }) => {
      for (const { before, kept, lost } of rooms) {
        expect(lost).toEqual([]);
        if (before.lines.length === 0) continue;
        expect(kept.id).toBe(before.id);
        expect(kept.lines[0]?.seq).toBe(before.lines[0]?.seq as number);
      }
    });
  },
  (CUTS + 1) * MS_PER_CUT,
);

const SECOND_CUTS = Math.ceil(CUTS / 7);

vmTest(
  `--fsync second: what is lost came in the last second or so, ${SECOND_CUTS} times`,
  async () => {
    // Long enough for a policy that syncs later than it says, or never, to be seen.
    const load = [SECOND_MS + 2000, SECOND_MS + 4000] as const;
    const plan = { fsync: "second", cuts: SECOND_CUTS, load } as const;
    await cutAgainAndAgain(plan, ({ rooms, cutAt }) => {
      for (const { lost } of rooms) {
        expect(cutAt - (lost[0]?.at ?? cutAt)).toBeLessThan(SECOND_MS);
      }
    });
  },
  (SECOND_CUTS + 1) * MS_PER_CUT,
);

// What the tests above are worth: the same cuts where nobody promises anything.
for (const [what, plan] of [
  ["a relay that never syncs", { fsync: "never" }],
  [
    "a file system that does not flush the disk's cache",
    { fsync: "always", mountOptions: "barrier=0" },
  ],
] as const) {
  vmTest(
    `${what} is seen to lose what was acknowledged`,
    async () => {
      let lost = 0;
      const look = ({ rooms }: Outcome) => {
        lost += rooms.flatMap((room) => room.lost).length;
      };
      await cutAgainAndAgain({ ...plan, cuts: 1, fates: ["none"], load: [500, 1000] }, look);
      expect(lost).toBeGreaterThan(0);
    },
    2 * MS_PER_CUT,
  );
}
