/** What goes wrong in the simulated network, and that it goes wrong the same way each time. */
import { describe, expect, test } from "bun:test";
import { End } from "../contract/socket-end.ts";
import { CALM, drawFaults, type NetworkFaults } from "./faults.ts";
import { SimNetwork } from "./network.ts";
import { Prng } from "./prng.ts";
import { Scheduler } from "./time.ts";

const [RELAY, CLIENT] = ["10.0.0.1", "10.0.0.2"];
const PORT = 35001;

function world(seed: number | string, faults: NetworkFaults = CALM) {
  const prng = new Prng(seed);
  const scheduler = new Scheduler(prng.fork("time"));
  const network = new SimNetwork(scheduler, prng.fork("network"));
  network.faults = faults;
  const relay = network.attach(scheduler.process("relay"), RELAY);
  const client = network.attach(scheduler.process("client"), CLIENT);
  const accepted: End[] = [];
  const accept = (socket: Parameters<End["open"]>[0]) => {
    const end = new End();
    end.open(socket);
    accepted.push(end);
    return end;
  };
  relay.listen({ host: RELAY, port: PORT, tls: undefined }, accept);
  const connect = () => {
    const end = new End();
    client.connect({ host: RELAY, port: PORT }, undefined, end);
    return end;
  };
  const pair = () => {
    const near = connect();
    scheduler.run(1000);
    const far = accepted.at(-1);
    if (far === undefined || !near.isOpen) throw new Error("no connection");
    return { near, far };
  };
  return { prng, scheduler, network, relay, client, accept, accepted, connect, pair };
}

const BYTES = new Prng("bytes").bytes(new Uint8Array(4000));

/** Clients that send while the network does its worst: all that happened, in order. */
function storm(seed: number): string[] {
  const { prng, scheduler, connect, accepted } = world(seed, drawFaults(new Prng(seed)));
  const seen: string[] = [];
  const ends: End[] = [];
  for (let i = 0; i < 8; i++) {
    const end = connect();
    ends.push(end);
    end.onOpen = () => end.send(BYTES, () => prng.chance(0.5) && end.socket.shutdown());
    end.onData = () => seen.push(`${scheduler.now()} client ${i} has ${end.got}`);
  }
  scheduler.run(1000);
  const told = new Set<End>();
  for (let turn = 0; turn < 200; turn++) {
    for (const end of accepted) {
      if (told.has(end)) continue;
      told.add(end);
      if (end.closes === 0) end.send(BYTES);
      end.onData = () => seen.push(`${scheduler.now()} relay has ${end.got}`);
    }
    scheduler.run(500);
  }
  for (const end of [...ends, ...accepted]) {
    const got = end.bytes();
    expect(got.equals(BYTES.subarray(0, got.length))).toBe(true);
    seen.push(`${end.got} ${end.closes} ${end.why}`);
  }
  return seen;
}

test("whatever happens, what arrives is what was sent, from its beginning; a seed gives one run", () => {
  let whole = 0;
  for (let seed = 0; seed < 30; seed++) {
    const seen = storm(seed);
    if (seed < 4) expect(storm(seed)).toEqual(seen);
    whole += seen.filter((line) => line.startsWith("4000 ")).length;
  }
  expect(whole).toBeGreaterThan(100);
});

describe("a connection", () => {
  test("that is cut tells both sides, each after a while", () => {
    const { scheduler, network, pair } = world(1);
    const { near, far } = pair();
    network.connections[0]?.cut();
    expect([near.closes, far.closes]).toEqual([0, 0]);
    scheduler.run(1000);
    expect([near.closes, far.closes]).toEqual([1, 1]);
    expect(network.connections).toEqual([]);
  });

  test("that is cut in silence is found out by who sends, and by nobody else", () => {
    const { scheduler, network, pair } = world(2, { ...CALM, silentCut: 1 });
    const { near, far } = pair();
    network.connections[0]?.cut();
    scheduler.run(1000);
    near.send(BYTES);
    scheduler.run(1000);
    expect([near.closes, far.closes, far.got]).toEqual([0, 0, 0]);
    scheduler.run(600_000);
    expect(near.why).toContain("ETIMEDOUT");
    expect(far.closes).toBe(0);
  });

  test("stalls while its ends are apart, and goes on when they are not", () => {
    const { scheduler, network, pair } = world(3);
    const { near, far } = pair();
    network.partition("split", [RELAY], [CLIENT]);
    near.send(BYTES);
    scheduler.run(5000);
    expect(far.got).toBe(0);
    network.heal("split");
    scheduler.run(5000);
    expect(far.bytes().equals(BYTES)).toBe(true);
  });

  test("is given up when they are apart for too long", () => {
    const { scheduler, network, pair } = world(4);
    const { near, far } = pair();
    network.partition("split", [RELAY], [CLIENT]);
    near.send(BYTES);
    scheduler.run(100_000);
    expect([near.closes, far.closes]).toEqual([1, 0]);
    network.heal();
    far.send(BYTES);
    scheduler.run(1000);
    // Nobody has it any more there: that is answered with a reset.
    expect(far.closes).toBe(1);
  });

  test("is not made while they are apart: it waits, or fails", () => {
    const { scheduler, network, connect } = world(5);
    network.partition("split", [RELAY], [CLIENT]);
    const patient = connect();
    scheduler.run(5000);
    expect([patient.isOpen, patient.closes]).toEqual([false, 0]);
    network.heal();
    scheduler.run(1000);
    expect(patient.isOpen).toBe(true);
    network.partition("split", [RELAY], [CLIENT]);
    const vain = connect();
    scheduler.run(100_000);
    expect([vain.isOpen, vain.closes]).toEqual([false, 1]);
  });

  test("to a host that there is not fails, as one to a refusing relay", () => {
    const { scheduler, client, connect } = world(6, { ...CALM, refuse: 1 });
    const lost = new End();
    client.connect({ host: "10.9.9.9", port: PORT }, undefined, lost);
    const refused = connect();
    scheduler.run(1000);
    expect([lost.why, refused.why]).toEqual([
      "the host is not known",
      "nothing listens there (is chat-server running?)",
    ]);
  });
});

describe("a process that", () => {
  test("is killed hears nothing more, and its peers are told; its port is free again", () => {
    for (let seed = 0; seed < 10; seed++) {
      const { scheduler, network, relay, accept, accepted, connect, pair } = world(seed);
      const { near, far } = pair();
      near.send(BYTES);
      relay.process.kill();
      expect(far.socket.write(BYTES)).toBe(-1);
      scheduler.run(1000);
      expect([far.got, far.closes, near.closes]).toEqual([0, 0, 1]);
      const refused = connect();
      scheduler.run(1000);
      expect(refused.why).toContain("nothing listens there");
      const again = network.attach(scheduler.process("relay 2"), RELAY);
      again.listen({ host: RELAY, port: PORT, tls: undefined }, accept);
      const back = connect();
      scheduler.run(1000);
      expect([back.isOpen, accepted.length]).toEqual([true, 2]);
    }
  });

  test("loses its power tells nobody; who sends to it learns of it once it is back", () => {
    const { scheduler, network, relay, pair } = world(7);
    const { near, far } = pair();
    far.send(BYTES);
    network.powerOff(relay);
    scheduler.run(2000);
    expect([near.got, near.closes]).toEqual([0, 0]);
    near.send(BYTES);
    scheduler.run(2000);
    expect(near.closes).toBe(0);
    network.attach(scheduler.process("relay 2"), RELAY);
    scheduler.run(2000);
    expect([near.closes, near.got]).toEqual([1, 0]);
    expect(near.why).toContain("ECONNRESET");
  });
});
