/**
 * A simulated network: TCP between processes, with what happens to it drawn from the seed.
 *
 * Within a connection everything is in order, between connections nothing is.
 */
import { HOST_UNKNOWN } from "../../src/bun-transport.ts";
import type {
  ByteSocket,
  ClientHandler,
  ClientTransport,
  Listener,
  ListenOptions,
  ServerTransport,
  SocketHandler,
  TlsOptions,
} from "../../src/transport.ts";
import { Connection } from "./connection.ts";
import { CALM, type NetworkFaults } from "./faults.ts";
import type { Prng } from "./prng.ts";
import type { SimProcess } from "./process.ts";
import type { Scheduler } from "./time.ts";

const FIRST_FREE_PORT = 40_000;

interface Listening {
  readonly host: SimHost;
  readonly tls: boolean;
  readonly accept: (socket: ByteSocket) => SocketHandler;
}

export class SimNetwork {
  /** What happens to connections that begin from now on; cuts happen while these have them. */
  faults: NetworkFaults = CALM;
  readonly scheduler: Scheduler;
  readonly prng: Prng;
  readonly #hosts = new Map<string, SimHost>();
  readonly #listening = new Map<string, Listening>();
  readonly #connections = new Set<Connection>();
  /** The two sides of what is apart: none of one reaches any of the other. */
  readonly #partitions = new Map<string, readonly [ReadonlySet<string>, ReadonlySet<string>]>();
  /** Those whose machine has no power. */
  readonly #dark = new Set<string>();
  /** Attempts to connect that get no answer. */
  readonly #calling = new Set<() => void>();
  #lastPort = FIRST_FREE_PORT;

  constructor(scheduler: Scheduler, prng: Prng) {
    this.scheduler = scheduler;
    this.prng = prng;
  }

  /** Gives a process the machine at `address`, which must have none that lives. */
  attach(process: SimProcess, address: string): SimHost {
    if (this.#hosts.get(address)?.process.alive) throw new Error(`${address} is in use`);
    const host = new SimHost(this, process, address);
    this.#hosts.set(address, host);
    this.#dark.delete(address);
    process.onEnd(() => this.#ended(host));
    this.#changed();
    return host;
  }

  /** Connections that are there. */
  get connections(): readonly Connection[] {
    return [...this.#connections];
  }

  /** Takes those at `some` and those at `others` apart, under a name. Connections stay, and stall. */
  partition(name: string, some: readonly string[], others: readonly string[]): void {
    this.#partitions.set(name, [new Set(some), new Set(others)]);
    this.#changed();
  }

  /** Ends the partition of that name, or all of them. */
  heal(name?: string): void {
    if (name === undefined) this.#partitions.clear();
    else this.#partitions.delete(name);
    this.#changed();
  }

  /** The machine loses its power and its process: nobody is told anything. */
  powerOff(host: SimHost): void {
    this.#dark.add(host.address);
    for (const connection of this.#connections) connection.powerLost(host.address);
    host.process.kill();
    this.#changed();
  }

  /** Whether what one sends gets to the other. */
  reaches(from: string, to: string): boolean {
    if (this.#dark.has(from) || this.#dark.has(to)) return false;
    for (const [a, b] of this.#partitions.values()) {
      if ((a.has(from) && b.has(to)) || (b.has(from) && a.has(to))) return false;
    }
    return true;
  }

  #changed(): void {
    for (const connection of this.#connections) connection.advance();
    for (const call of [...this.#calling]) call();
  }

  #ended(host: SimHost): void {
    for (const [where, listening] of this.#listening) {
      if (listening.host === host) this.#listening.delete(where);
    }
    for (const connection of [...this.#connections]) connection.abandonedBy(host.process);
  }

  /** @throws Error EADDRINUSE */
  listen(host: SimHost, options: ListenOptions, accept: Listening["accept"]): Listener {
    const port = options.port === 0 ? this.freePort() : options.port;
    const where = `${host.address} ${port}`;
    if (this.#listening.has(where)) {
      throw Object.assign(new Error("the port is in use"), { code: "EADDRINUSE" });
    }
    const listening = { host, tls: options.tls !== undefined, accept };
    this.#listening.set(where, listening);
    const stop = () => {
      if (this.#listening.get(where) === listening) this.#listening.delete(where);
    };
    return { port, stop };
  }

  freePort(): number {
    this.#lastPort += 1;
    return this.#lastPort;
  }

  /** What a client's call for a connection comes to. */
  call(
    caller: SimHost,
    endpoint: { readonly host: string; readonly port: number },
    tls: TlsOptions | undefined,
    handler: ClientHandler,
  ): void {
    const fail = (why: string) => {
      if (caller.process.alive) handler.closed(why);
    };
    const { host: address, port } = endpoint;
    const { faults, prng } = this;
    const oneWay = () => prng.magnitude(...faults.delayMs);
    const later = (action: () => void) =>
      this.scheduler.at(this.scheduler.now() + oneWay(), action);
    if (!this.#hosts.has(address)) {
      later(() => fail(HOST_UNKNOWN));
      return;
    }
    const answer = () => {
      const listening = this.#listening.get(`${address} ${port}`);
      if (listening === undefined || prng.chance(faults.refuse)) {
        later(() => fail("nothing listens there (is chat-server running?)"));
      } else if (listening.tls !== (tls !== undefined)) {
        later(() => fail("one side speaks TLS and the other does not"));
      } else {
        later(() => {
          if (caller.process.alive) this.#connect(caller, listening, port, handler);
        });
      }
    };
    const unanswered = this.scheduler.at(
      this.scheduler.now() + prng.range(...faults.giveUpMs),
      () => {
        this.#calling.delete(call);
        fail("the connection timed out (ETIMEDOUT)");
      },
    );
    const call = () => {
      if (!this.reaches(caller.address, address)) return;
      unanswered.cancel();
      this.#calling.delete(call);
      later(answer);
    };
    this.#calling.add(call);
    call();
  }

  #connect(caller: SimHost, listening: Listening, port: number, handler: ClientHandler): void {
    const connection = new Connection(
      this,
      { process: caller.process, address: caller.address, port: this.freePort() },
      { process: listening.host.process, address: listening.host.address, port },
      () => this.#connections.delete(connection),
    );
    this.#connections.add(connection);
    const isThere = () => this.#listening.get(`${listening.host.address} ${port}`) === listening;
    connection.open(handler, (socket) => (isThere() ? listening.accept(socket) : undefined));
    this.#cutSometime(connection);
  }

  /** Lets a connection have the lifetime that the faults give it. */
  #cutSometime(connection: Connection): void {
    const { cutAfterMs } = this.faults;
    if (cutAfterMs === undefined) return;
    this.scheduler.at(this.scheduler.now() + this.prng.waiting(cutAfterMs), () => {
      if (this.faults.cutAfterMs !== undefined) connection.cut();
    });
  }
}

/** One machine's place in the network, with the transports for the process on it. */
export class SimHost implements ServerTransport, ClientTransport {
  readonly network: SimNetwork;
  readonly process: SimProcess;
  readonly address: string;

  constructor(network: SimNetwork, process: SimProcess, address: string) {
    this.network = network;
    this.process = process;
    this.address = address;
  }

  listen(options: ListenOptions, accept: (socket: ByteSocket) => SocketHandler): Listener {
    return this.network.listen(this, options, accept);
  }

  connect(
    endpoint: { readonly host: string; readonly port: number },
    tls: TlsOptions | undefined,
    handler: ClientHandler,
  ): void {
    this.network.call(this, endpoint, tls, handler);
  }
}
