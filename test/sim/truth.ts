/**
 * What was really sent, and what everybody was shown of it. It is told of every entry as it is seen, and
 * throws a Violation at the first that can't be.
 */

export class Violation extends Error {
  override name = "Violation";
}

/** Where an entry stands: a log's name and a number. */
export interface Place {
  readonly log: string;
  readonly seq: number;
}

interface Acknowledged extends Place {
  readonly room: string;
  readonly text: string;
  /** Milliseconds of simulated time. */
  readonly at: number;
}

/** What of a world's faults may excuse. */
export interface Promises {
  /** One text may stand twice in a log: its sender was told that it isn't kept, and then it was. */
  readonly twice: boolean;
}

export class Truth {
  /** Texts that were sent into each room; empty ones are counted, they can't be told apart. */
  readonly #sent = new Map<string, Set<string>>();
  readonly #empty = new Map<string, number>();
  /** Each log's entries, as the first who saw one saw it. */
  readonly #logs = new Map<string, Map<number, string>>();
  /** Whose log it is. */
  readonly #rooms = new Map<string, string>();
  readonly #places = new Map<string, Place>();
  /** Sent again by who can't know whether they are in the log: they may stand there twice. */
  readonly #again = new Set<string>();
  readonly #sealed = new Set<string>();
  /** Numbers of the connections that entries are of. */
  readonly #senders = new Map<string, number>();
  readonly acknowledged: Acknowledged[] = [];
  readonly #promises: Promises;
  /** Entries that were seen by somebody, each once. */
  entries = 0;
  /** Changes with everything that is seen: two runs of one seed have the same. */
  digest = 0;

  constructor(promises: Promises) {
    this.#promises = promises;
  }

  /** Somebody sends `text` into a room; before it does. */
  sends(room: string, text: string): void {
    if (text === "") {
      this.#empty.set(room, (this.#empty.get(room) ?? 0) + 1);
      return;
    }
    const texts = this.#sent.get(room) ?? new Set<string>();
    this.#sent.set(room, texts.add(text));
  }

  /** Somebody in `room` was shown an entry. `text` is what it says, or what stands for a GONE. */
  sees(who: string, room: string, place: Place & { readonly from: number }, text: string): void {
    const { log, seq, from } = place;
    this.digest = (Math.imul(this.digest, 31) + seq + text.length) | 0;
    const owner = this.#rooms.get(log) ?? room;
    if (owner !== room) throw new Violation(`${who} in ${room} is shown the log of ${owner}`);
    this.#rooms.set(log, room);
    const entries = this.#logs.get(log) ?? new Map<number, string>();
    this.#logs.set(log, entries);
    const known = entries.get(seq);
    if (known === undefined) {
      this.entries += 1;
      this.#isNew(room, place, text);
    }
    const sender = this.#senders.get(`${log} ${seq}`) ?? from;
    if (sender !== from)
      throw new Violation(`entry ${seq} of ${log} is of ${from}, was of ${sender}`);
    this.#senders.set(`${log} ${seq}`, from);
    if (known !== undefined && known !== text) {
      throw new Violation(
        `${who}: entry ${seq} of ${log} is "${short(text)}", was "${short(known)}"`,
      );
    }
    entries.set(seq, text);
  }

  /** What is sent into a room is sealed: it can't be told what it says. */
  seal(room: string): void {
    this.#sealed.add(room);
  }

  #isNew(room: string, place: Place, text: string): void {
    if (this.#sealed.has(room)) return;
    if (text === "" || text.startsWith("GONE ")) {
      const empties = this.#empty.get(room) ?? 0;
      if (text === "" && empties === 0)
        throw new Violation(`an empty entry in ${room} is nobody's`);
      return;
    }
    if (this.#sent.get(room)?.has(text) !== true) {
      throw new Violation(`entry ${place.seq} of ${room}, "${short(text)}", was sent by nobody`);
    }
    const before = this.#places.get(text);
    const mayRepeat = this.#promises.twice || this.#again.has(text);
    if (before !== undefined && before.log === place.log && !mayRepeat) {
      throw new Violation(`"${short(text)}" stands twice in ${room}: ${before.seq}, ${place.seq}`);
    }
    this.#places.set(text, place);
  }

  /** Its sender was told that it missed what may have been this: it says it again. */
  repeats(text: string): void {
    this.#again.add(text);
  }

  isRepeated(text: string): boolean {
    return this.#again.has(text);
  }

  /** A sender saw its own entry come back. */
  acknowledges(room: string, place: Place, text: string, at: number): void {
    this.acknowledged.push({ ...place, room, text, at });
  }

  /** Whether anything may stand twice. */
  get mayRepeat(): boolean {
    return this.#promises.twice;
  }
}

export const short = (text: string) => (text.length > 24 ? `${text.slice(0, 24)}…` : text);
