/** When a client tries again, gives up, and speaks of it: src/client/reconnect.ts in simulated time. */
import { expect, test } from "bun:test";
import { type Next, Reconnect } from "../../src/client/reconnect.ts";
import { Prng } from "./prng.ts";
import { Scheduler } from "./time.ts";

const HOUR_MS = 3_600_000;

function world(patienceMs = Number.POSITIVE_INFINITY) {
  const scheduler = new Scheduler(new Prng("reconnect"));
  const state = { waiting: false, good: 0 };
  const reconnect = new Reconnect({
    runtime: scheduler.process("client"),
    patienceMs,
    waiting: () => state.waiting,
    onImpatient: () => undefined,
    onGood: () => {
      state.good += 1;
    },
  });
  /** One try that fails, or is welcomed and closed. @returns the pause, or undefined for giving up */
  const fail = (why: string, welcomed = false): Next => {
    reconnect.trying();
    if (welcomed) reconnect.welcomed();
    return reconnect.down(why);
  };
  /** Tries until it gives up, at most for an hour: the pauses. */
  const pauses = (welcomed: boolean, tries = 5000): number[] => {
    const seen: number[] = [];
    while (seen.length < tries && scheduler.now() < HOUR_MS) {
      const next = fail("no", welcomed);
      if (next.kind === "give-up") break;
      seen.push(next.afterMs);
      scheduler.run(next.afterMs);
    }
    return seen;
  };
  return { scheduler, state, reconnect, fail, pauses };
}

/** Pauses that double from 0.3 to 15 s, each a quarter more or less. */
function expectDoubling(pauses: readonly number[]): void {
  pauses.forEach((pause, i) => {
    const middle = Math.min(15_000, 300 * 2 ** i);
    expect(pause).toBeGreaterThanOrEqual(Math.floor(middle * 0.75));
    expect(pause).toBeLessThanOrEqual(Math.ceil(middle * 1.25));
  });
}

test("pauses double up to 15 s, whether or not the relay welcomes", () => {
  for (const welcomed of [false, true]) {
    const { state, pauses } = world();
    state.waiting = true;
    expectDoubling(pauses(welcomed, 12));
  }
});

test("what is accepted makes the next pause short, and lets the reason be news again", () => {
  const { scheduler, state, reconnect, fail, pauses } = world();
  pauses(true, 6);
  expect(fail("no", true)).toMatchObject({ news: false });
  reconnect.trying();
  reconnect.welcomed();
  expect(state.good).toBe(0);
  reconnect.accepted();
  reconnect.accepted();
  expect(state.good).toBe(1);
  scheduler.run(1);
  expect(reconnect.down("no")).toMatchObject({ kind: "retry", news: true });
  expectDoubling(pauses(false, 3));
});

test("each reason is news once, as a welcome is, and a relay that makes them up fills no memory", () => {
  const { reconnect, fail } = world();
  expect(fail("full", true)).toMatchObject({ news: true });
  expect(fail("gone")).toMatchObject({ news: true });
  expect(fail("full")).toMatchObject({ news: false });
  reconnect.trying();
  expect(reconnect.welcomed()).toBe(false);
  reconnect.accepted();
  reconnect.down("full");
  reconnect.trying();
  expect(reconnect.welcomed()).toBe(true);
  reconnect.down("full");
  for (let i = 0; i < 20; i++) expect(fail(`reason ${i}`)).toMatchObject({ news: true });
  expect(fail("full")).toMatchObject({ news: true });
});

test("a connection over which there is nothing to send is good once it has lasted", () => {
  const { scheduler, state, reconnect, pauses } = world();
  pauses(true, 6);
  for (const waiting of [true, false]) {
    state.waiting = waiting;
    reconnect.trying();
    reconnect.welcomed();
    scheduler.run(60_000);
    expect(state.good).toBe(waiting ? 0 : 1);
    reconnect.down("no");
  }
});

test("patience ends when nothing was accepted for so long, welcomes or not, and not before", () => {
  for (const welcomed of [false, true]) {
    const { scheduler, state, reconnect, pauses } = world(20_000);
    reconnect.trying();
    reconnect.welcomed();
    scheduler.run(HOUR_MS / 2);
    reconnect.handedIn();
    state.waiting = true;
    const handedInAt = scheduler.now();
    pauses(welcomed);
    expect(scheduler.now() - handedInAt).toBe(20_000);
  }
});

test("with nothing waiting every welcome renews patience, and failures alone end it", () => {
  const welcomed = world(5000);
  welcomed.pauses(true);
  expect(welcomed.scheduler.now()).toBeGreaterThanOrEqual(HOUR_MS);
  const refused = world(5000);
  refused.pauses(false);
  expect(refused.scheduler.now()).toBe(5000);
});

test("what is handed in without a connection does not renew patience", () => {
  const { scheduler, state, reconnect, fail, pauses } = world(5000);
  fail("no");
  scheduler.run(4000);
  reconnect.handedIn();
  state.waiting = true;
  pauses(false);
  expect(scheduler.now()).toBe(5000);
});

test("no patience at all is one try", () => {
  expect(world(0).fail("no")).toEqual({ kind: "give-up", welcomed: false });
});
