/** What every Stream must do, NATS's and the simulator's. */
import { describe, expect, test } from "bun:test";
import {
  ConflictError,
  type Following,
  type Message,
  type Stream,
} from "../../src/relay/log/jetstream/stream.ts";

export interface StreamSetup {
  /** Two links to one stream, which keeps all. */
  readonly links: readonly [Stream, Stream];
  /** A link to a stream that keeps messages for a second or so. */
  readonly forgetful: Stream;
  /** Awaits something, with time going on. */
  run<T>(promise: Promise<T>): Promise<T>;
  /** Waits until it is so. */
  until(what: string, condition: () => boolean | Promise<boolean>): Promise<void>;
  purge(key: string): Promise<void>;
  /** Deletes the stream of the two links. */
  dropStream(): Promise<void>;
}

const newKey = () => Buffer.from(crypto.getRandomValues(new Uint8Array(32))).toString("hex");
const bytes = (text: string) => new TextEncoder().encode(text);
const text = (message: Message | undefined) => new TextDecoder().decode(message?.data);

class Heard {
  readonly messages: Message[] = [];
  readonly ends: unknown[] = [];
  readonly message = (message: Message) => void this.messages.push(message);
  readonly ended = (why: unknown) => void this.ends.push(why);
  get texts(): string[] {
    return this.messages.map(text);
  }
}

export function streamContract(name: string, setup: () => StreamSetup): void {
  describe(`the stream of ${name}`, () => {
    test("takes a message only after the one that is said, and tells a conflict", async () => {
      const { links, run } = setup();
      const [a, b] = links;
      const key = newKey();
      const first = await run(a.publish(key, { "X-A": "1" }, bytes("one"), 0));
      expect(first).toBeGreaterThan(0);
      await expect(run(b.publish(key, {}, bytes("no"), 0))).rejects.toBeInstanceOf(ConflictError);
      await expect(run(b.publish(key, {}, bytes("no"), first + 1))).rejects.toBeInstanceOf(
        ConflictError,
      );
      const other = await run(b.publish(newKey(), {}, bytes("other"), 0));
      const second = await run(b.publish(key, {}, bytes("two"), first));
      expect([other > first, second > other]).toEqual([true, true]);
      const last = await run(a.last(key));
      expect([last?.seq, text(last)]).toEqual([second, "two"]);
      const found = await run(b.from(key, 1));
      expect([found?.seq, found?.headers["X-A"], text(found)]).toEqual([first, "1", "one"]);
      expect(Math.abs((found?.time ?? 0) - (last?.time ?? 1e15))).toBeLessThan(60_000);
    });

    test("says of what it doesn't have that it has none", async () => {
      const { links, run } = setup();
      const key = newKey();
      expect(await run(links[0].last(key))).toBeUndefined();
      expect(await run(links[0].from(key, 1))).toBeUndefined();
      const seq = await run(links[0].publish(key, {}, bytes(""), 0));
      expect((await run(links[1].last(key)))?.data.length).toBe(0);
      expect(await run(links[1].from(key, seq + 1))).toBeUndefined();
    });

    test("finds a room's next message between those of others", async () => {
      const { links, run } = setup();
      const [a] = links;
      const [key, other] = [newKey(), newKey()];
      const seqs: number[] = [];
      for (let i = 0, last = 0, others = 0; i < 4; i++) {
        last = await run(a.publish(key, {}, bytes(`m${i}`), last));
        others = await run(a.publish(other, {}, bytes("not this"), others));
        seqs.push(last);
      }
      const [first = 0, second = 0, , fourth = 0] = seqs;
      expect(text(await run(a.from(key, first + 1)))).toBe("m1");
      expect(text(await run(a.from(key, second)))).toBe("m1");
      expect(text(await run(a.from(key, fourth)))).toBe("m3");
      expect(await run(a.from(key, fourth + 1))).toBeUndefined();
    });

    test("tells each message once, in order, from a number on, to all who follow", async () => {
      const { links, run, until } = setup();
      const [a, b] = links;
      const [key, other] = [newKey(), newKey()];
      const [all, later, late] = [new Heard(), new Heard(), new Heard()];
      const followings: Following[] = [await run(a.follow(key, 1, all))];
      const first = await run(b.publish(key, { "X-A": "b" }, bytes("m0"), 0));
      followings.push(await run(b.follow(key, first + 1, later)));
      let last = first;
      for (let i = 1; i < 40; i++) {
        last = await run((i % 2 === 0 ? a : b).publish(key, {}, bytes(`m${i}`), last));
        if (i === 1) await run(a.publish(other, {}, bytes("other"), 0));
      }
      followings.push(await run(b.follow(key, last, late)));
      const texts = Array.from({ length: 40 }, (_, i) => `m${i}`);
      await until("all", () => all.messages.length >= 40 && later.messages.length >= 39);
      await until("the last", () => late.messages.length > 0);
      expect([all.texts, later.texts, late.texts]).toEqual([texts, texts.slice(1), ["m39"]]);
      const [told] = all.messages;
      expect([told?.seq, told?.headers["X-A"]]).toEqual([first, "b"]);
      for (const following of followings) following.stop();
      last = await run(a.publish(key, {}, bytes("unheard"), last));
      const control = new Heard();
      const following = await run(a.follow(key, last, control));
      await until("the control", () => control.messages.length === 1);
      expect([all.messages.length, all.ends]).toEqual([40, []]);
      following.stop();
    });

    test("has nothing of a purged room, and its numbers go on", async () => {
      const { links, run, purge } = setup();
      const [a, b] = links;
      const key = newKey();
      const first = await run(a.publish(key, {}, bytes("one"), 0));
      await purge(key);
      expect(await run(b.last(key))).toBeUndefined();
      expect(await run(b.from(key, 1))).toBeUndefined();
      await expect(run(a.publish(key, {}, bytes("no"), first))).rejects.toBeInstanceOf(
        ConflictError,
      );
      expect(await run(a.publish(key, {}, bytes("two"), 0))).toBeGreaterThan(first);
    });

    test("forgets what is older than it keeps", async () => {
      const { forgetful, run, until } = setup();
      expect(forgetful.keepMs).toBe(1000);
      const key = newKey();
      const first = await run(forgetful.publish(key, {}, bytes("one"), 0));
      await until("it to be gone", async () => (await run(forgetful.last(key))) === undefined);
      expect(await run(forgetful.publish(key, {}, bytes("two"), 0))).toBeGreaterThan(first);
    });

    test("ends a following whose stream is deleted, and makes it again", async () => {
      const { links, run, until, dropStream } = setup();
      const [a, b] = links;
      const key = newKey();
      const heard = new Heard();
      await run(a.publish(key, {}, bytes("one"), 0));
      await run(a.follow(key, 1, heard));
      await until("it", () => heard.messages.length === 1);
      await dropStream();
      await until("the end", () => heard.ends.length === 1);
      expect(await run(b.last(key))).toBeUndefined();
      const seq = await run(a.publish(key, {}, bytes("two"), 0));
      const again = new Heard();
      const following = await run(a.follow(key, 1, again));
      await until("it", () => again.messages.length === 1);
      expect([again.messages[0]?.seq, again.texts]).toEqual([seq, ["two"]]);
      expect(heard.messages.length).toBe(1);
      following.stop();
    });
  });
}
