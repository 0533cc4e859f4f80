/** What a relay does at its door, with a transport and a clock that the test plays. */
import { expect, test } from "bun:test";
import { DEFAULT_LIMITS } from "../src/relay/limits.ts";
import { Budget } from "../src/relay/log/budget.ts";
import { MemoryLogs } from "../src/relay/log/memory.ts";
import { MOST_TURNED_AWAY, Relay } from "../src/relay/server.ts";
import type {
  ByteSocket,
  ListenOptions,
  ServerTransport,
  SocketHandler,
  TlsIdentity,
} from "../src/transport.ts";
import { silentReport } from "./contract/nats-stream.ts";
import { Prng } from "./sim/prng.ts";
import { Scheduler } from "./sim/time.ts";

/** A transport whose port is somebody else's now and then. */
class Door implements ServerTransport {
  taken = false;
  /** The certificates of those that listen. */
  readonly listening: (TlsIdentity | undefined)[] = [];
  accept: (socket: ByteSocket) => SocketHandler = () => {
    throw new Error("nobody listens");
  };

  listen({ tls }: ListenOptions, accept: (socket: ByteSocket) => SocketHandler) {
    if (this.taken) throw Object.assign(new Error("in use"), { code: "EADDRINUSE" });
    this.listening.push(tls);
    this.accept = accept;
    const stop = () => {
      const at = this.listening.lastIndexOf(tls);
      if (at >= 0) this.listening.splice(at, 1);
    };
    return { port: 1, stop };
  }
}

class Visitor implements ByteSocket {
  readonly remoteAddress = "192.0.2.1";
  readonly remotePort = 1;
  words = 0;
  over = false;
  handler: SocketHandler | undefined;

  write(bytes: Uint8Array): number {
    this.words += 1;
    return bytes.length;
  }

  shutdown(): void {
    // It does not close its side.
  }

  terminate(): void {
    if (this.over) return;
    this.over = true;
    this.handler?.closed();
  }

  pause(): void {
    // It sends nothing.
  }

  resume(): void {
    // Nor here.
  }
}

function relayAt(door: Door, scheduler: Scheduler, limits = DEFAULT_LIMITS): Relay {
  const runtime = scheduler.process("relay");
  return new Relay({
    host: "relay",
    port: 1,
    limits,
    report: silentReport,
    runtime,
    transport: door,
    logs: new MemoryLogs(runtime),
    budget: new Budget(1 << 20),
    tls: { cert: "first", key: "" },
    accessKey: undefined,
  });
}

test("certificates that change while the port is taken: the newest is shown, by one listener, once it is free", () => {
  const [door, scheduler] = [new Door(), new Scheduler(new Prng("door"))];
  const relay = relayAt(door, scheduler);
  expect(door.listening.map((tls) => tls?.cert)).toEqual(["first"]);
  door.taken = true;
  for (const cert of ["second", "third"]) {
    relay.showCertificate({ cert, key: "" });
    scheduler.run(1500);
  }
  expect(door.listening).toEqual([]);
  expect(relay.gauges.trouble).toContain("can't listen on port 1 again");
  door.taken = false;
  scheduler.run(5000);
  expect(door.listening.map((tls) => tls?.cert)).toEqual(["third"]);
  expect(relay.gauges.trouble).toBeUndefined();
});

test("who is turned away is told why, but a flood of them holds few descriptors", () => {
  const [door, scheduler] = [new Door(), new Scheduler(new Prng("flood"))];
  relayAt(door, scheduler, { ...DEFAULT_LIMITS, maxConnections: 1 });
  const visitors = Array.from({ length: 1000 }, () => {
    const visitor = new Visitor();
    visitor.handler = door.accept(visitor);
    return visitor;
  });
  expect(visitors.filter(({ over }) => !over).length).toBe(1 + MOST_TURNED_AWAY);
  expect(visitors.filter(({ words }) => words > 0).length).toBe(MOST_TURNED_AWAY);
  scheduler.run(3000);
  expect(visitors.filter(({ over }) => !over).length).toBe(1);
});
