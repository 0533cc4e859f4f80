/** What --crypto auto makes of how fast a device is: with backends whose cost is told, and a clock. */
import { describe, expect, test } from "bun:test";
import type { Backend } from "../src/crypto/backend.ts";
import { DeviceError } from "../src/crypto/backend.ts";
import { BySizeBackend } from "../src/crypto/bysize.ts";
import { type Choices, chooseBackend } from "../src/crypto/choose.ts";
import { measure, SIZES } from "../src/crypto/measure.ts";
import { software } from "../src/crypto/software.ts";
import { OpeningSessions, PAYLOAD_AT, SealingSession } from "../src/protocol/envelope.ts";
import { decodePayload, encodePayload } from "../src/protocol/payload.ts";
import { Clock, type Cost, costly } from "./support/fake-backends.ts";

const KEY = new Uint8Array(32).fill(1);
const ROOM = new Uint8Array(32).fill(2);

/** What this processor's costs: 8 µs and 3.5 µs a KiB for a message sealed and opened. */
const PROCESSOR: Cost = { call: 0.004, byte: 0.0000017 };
/** A device whose round trip is 25 µs, and that has done the work meanwhile. */
const LATE: Cost = { call: 0.025, byte: 0.0000001 };
const SLOW: Cost = { call: 0.1, byte: 0.0000034 };
const QUICK: Cost = { call: 0.001, byte: 0.0000004 };

/** Counts what a backend does. */
class Counted {
  sealed: number[] = [];
  opened = 0;
  closed = 0;
  failing = false;
  readonly backend: Backend;

  constructor(of: Backend, description: string) {
    this.backend = {
      description,
      open: (encryptionKey, macKey) => {
        const keys = of.open(encryptionKey, macKey);
        this.opened += 1;
        return {
          seal: (buffer, adAt, ivAt, plaintextBytes) => {
            if (this.failing) throw new DeviceError(`${description}: gone`);
            this.sealed.push(plaintextBytes + 1);
            return keys.seal(buffer, adAt, ivAt, plaintextBytes);
          },
          open: (buffer, adAt, ivAt, end) => keys.open(buffer, adAt, ivAt, end),
          close: () => keys.close(),
        };
      },
      close: () => {
        this.closed += 1;
      },
    };
  }
}

interface Setup {
  readonly device: Cost;
  readonly disturb?: (n: number) => number;
}

function setUp({ device, disturb }: Setup) {
  const clock = new Clock();
  const soft = new Counted(software, "software (test)");
  const hard = new Counted(software, "/dev/crypto (test)");
  const choices: Choices = {
    software: costly(soft.backend, clock, PROCESSOR, disturb),
    exists: () => true,
    openDevice: () => costly(hard.backend, clock, device, disturb),
    now: clock.now,
  };
  return { clock, soft, hard, choices };
}

function choose(setup: Setup, wish = "auto") {
  const parts = setUp(setup);
  const told: string[] = [];
  const began = parts.clock.ms;
  const chosen = chooseBackend(wish, (why) => told.push(why), parts.choices);
  const took = parts.clock.ms - began;
  parts.soft.sealed = [];
  parts.hard.sealed = [];
  return { ...parts, ...chosen, told, took };
}

const say = (session: SealingSession, bytes: number) =>
  session.seal((buffer, at) => {
    const text = "x".repeat(bytes);
    const sender = new Uint8Array(16);
    return encodePayload({ kind: "text", time: 1, sender, number: 1, nick: "n", text }, buffer, at);
  });

describe("--crypto auto", () => {
  test("takes a device that is faster at every size for all, and says how much", () => {
    const { backend, reason, hard, soft, took } = choose({ device: QUICK });
    expect(reason).toMatch(/^\/dev\/crypto \(test\): 3\.\d to 4\.\d times as fast as software$/);
    say(new SealingSession(backend, KEY, ROOM), 10);
    expect([hard.sealed, soft.sealed]).toEqual([[128], []]);
    expect(took).toBeLessThan(10);
  });

  test("does not use one that is slower everywhere, closes it, and says so", () => {
    const { backend, reason, hard, choices } = choose({ device: SLOW });
    expect(backend).toBe(choices.software);
    expect(reason).toBe("software (test): /dev/crypto (test) is 0.2 times as fast at best");
    expect(hard.closed).toBe(1);
    const worse = choose({ device: { call: 3, byte: 0 } });
    expect(worse.reason).toBe("software (test): /dev/crypto (test) is not a tenth as fast");
    const hopeless = choose({ device: { call: 50, byte: 0 } });
    expect(hopeless.reason).toBe(
      "software (test): /dev/crypto (test) takes too long to be measured",
    );
    // One message of the largest size each way, and not one of each.
    expect(hopeless.took).toBeLessThan(600);
  });

  test("has each message done where its size is done faster; the bytes are the same", () => {
    const { backend, reason, hard, soft } = choose({ device: LATE });
    expect(reason).toMatch(
      /^software up to 4 KiB, \/dev\/crypto \(test\) above: 1\.\d to 2\.\d times as fast there$/,
    );
    expect(backend).toBeInstanceOf(BySizeBackend);
    const sealing = new SealingSession(backend, KEY, ROOM);
    const openings = [backend, software].map((each) => new OpeningSessions(each, KEY, ROOM));
    for (const bytes of [10, 200, 1000, 3000, 5000, 9000, 20_000, 100]) {
      const envelope = say(sealing, bytes).slice();
      for (const opening of openings) {
        const opened = opening.open(envelope);
        if (opened.verdict !== "ok") throw new Error(opened.verdict);
        expect(decodePayload(opened.buffer, PAYLOAD_AT, opened.end).text.length).toBe(bytes);
      }
    }
    expect(soft.sealed).toEqual([128, 256, 2048, 4096, 256]);
    expect(hard.sealed).toEqual([8192, 16_384, 32_768]);
  });

  test("opens no sessions in the device for senders who send nothing that it is for", () => {
    const { backend, hard } = choose({ device: LATE });
    const before = hard.opened;
    const opening = new OpeningSessions(backend, KEY, ROOM);
    for (let i = 0; i < 10; i++) opening.open(say(new SealingSession(software, KEY, ROOM), 100));
    expect(hard.opened).toBe(before);
    opening.open(say(new SealingSession(software, KEY, ROOM), 9000));
    expect(hard.opened).toBe(before + 1);
  });

  test("goes on in software for all sizes when the device fails later, and says so once", () => {
    for (const device of [LATE, QUICK]) {
      const { backend, hard, told } = choose({ device });
      const sealing = new SealingSession(backend, KEY, ROOM);
      const opening = new OpeningSessions(software, KEY, ROOM);
      expect(opening.open(say(sealing, 9000)).verdict).toBe("ok");
      hard.failing = true;
      for (const bytes of [9000, 10, 9000]) {
        expect(opening.open(say(sealing, bytes))).toMatchObject({ verdict: "ok", skipped: 0 });
      }
      expect([told, hard.closed]).toEqual([["/dev/crypto (test): gone"], 1]);
    }
  });

  test("does not take a device for less than a tenth, nor one that is quick with wrong answers", () => {
    const level = { call: PROCESSOR.call / 1.05, byte: PROCESSOR.byte / 1.05 };
    expect(choose({ device: level }).reason).toMatch(/is 1\.0 times as fast at best$/);
    const { choices, clock } = setUp({ device: QUICK });
    // Wrong from 32 KiB on: the self-test is passed, what is measured is not.
    const liar: Backend = {
      ...software,
      description: "/dev/crypto (liar)",
      open: (encryptionKey, macKey) => {
        const keys = software.open(encryptionKey, macKey);
        return {
          seal: (buffer, adAt, ivAt, plaintextBytes) => {
            const end = keys.seal(buffer, adAt, ivAt, plaintextBytes);
            if (plaintextBytes > 24_000) buffer[ivAt + 20] = 0;
            return end;
          },
          open: keys.open.bind(keys),
          close: keys.close.bind(keys),
        };
      },
    };
    const openDevice = () => costly(liar, clock, QUICK);
    const { backend, reason } = chooseBackend("auto", () => {}, { ...choices, openDevice });
    expect(backend).toBe(choices.software);
    expect(reason).toBe("software (test): /dev/crypto (liar): wrong answer with 32768 bytes");
  });

  test("comes to the same on a noisy machine", () => {
    // Deterministic noise: every fourth or so call is held up, by up to 20 times what it takes.
    for (let seed = 1; seed <= 50; seed++) {
      let state = seed;
      const disturb = () => {
        state = (state * 48_271) % 0x7fff_ffff;
        return state % 10 < 1 ? (state % 1000) / 1000 : 0;
      };
      const quick = choose({ device: { call: 0.0005, byte: 0.0000002 }, disturb });
      const slow = choose({ device: SLOW, disturb });
      expect([seed, slow.backend === slow.choices.software]).toEqual([seed, true]);
      expect([seed, quick.backend === quick.choices.software]).toEqual([seed, false]);
    }
  });

  test("a path takes the device however slow it is; software never looks", () => {
    const asked = choose({ device: SLOW }, "/dev/crypto");
    expect(asked.reason).toBe("/dev/crypto (test), as asked");
    say(new SealingSession(asked.backend, KEY, ROOM), 10);
    expect(asked.hard.sealed).toEqual([128]);
    expect(choose({ device: QUICK }, "software").reason).toBe("software (test), as asked");
  });
});

describe("measuring", () => {
  test("gives each size's ratio, the largest first, and stops when it takes too long", () => {
    const { choices, clock } = setUp({ device: LATE });
    const device = choices.openDevice("");
    const measured = measure(choices.software, device, clock.now);
    expect(measured.map((one) => one.bytes)).toEqual([...SIZES]);
    for (const { bytes, ratio } of measured) {
      const expected = (PROCESSOR.call + PROCESSOR.byte * bytes) / (LATE.call + LATE.byte * bytes);
      expect(Math.abs(Number(ratio) / expected - 1)).toBeLessThan(0.2);
    }
    const began = clock.ms;
    const hung = costly(software, clock, { call: 1000, byte: 0 });
    const results = measure(choices.software, hung, clock.now);
    expect(results.map(({ ratio }) => ratio)).toEqual(SIZES.map(() => "unknown"));
    expect(clock.ms - began).toBeLessThan(5000);
  });
});
