/** A simulated connection: two sockets, and a pipe each way. */
import type { ByteSocket, ClientHandler, SocketHandler } from "../../src/transport.ts";
import type { SimNetwork } from "./network.ts";
import { Pipe } from "./pipe.ts";
import type { SimProcess } from "./process.ts";
import { SimSocket } from "./socket.ts";

/** One of the two that are connected. */
interface Party {
  readonly process: SimProcess;
  readonly address: string;
  readonly port: number;
}

interface Side {
  readonly party: Party;
  readonly socket: SimSocket;
}

export class Connection {
  readonly #network: SimNetwork;
  readonly #client: Side;
  readonly #server: Side;
  /** From the client to the relay, and back. */
  readonly #there: Pipe;
  readonly #back: Pipe;
  readonly #onOver: () => void;
  /** Something on the way has forgotten it: nothing gets through, and nobody is told so. */
  #cut = false;
  #accept: ((socket: ByteSocket) => SocketHandler | undefined) | undefined;

  /** @param onOver called when neither side has it any more */
  constructor(network: SimNetwork, client: Party, server: Party, onOver: () => void) {
    const { prng } = network;
    this.#network = network;
    this.#onOver = onOver;
    this.#client = { party: client, socket: new SimSocket(server.address, server.port, prng) };
    this.#server = { party: server, socket: new SimSocket(client.address, client.port, prng) };
    this.#there = this.#pipe(this.#client, this.#server);
    this.#back = this.#pipe(this.#server, this.#client);
    this.#attach(this.#client, this.#server, this.#there, this.#back);
    this.#attach(this.#server, this.#client, this.#back, this.#there);
  }

  get client(): string {
    return this.#client.party.address;
  }

  /** Whether the client has not closed its side, or been told that it is over. */
  get clientHasIt(): boolean {
    return !this.#client.socket.isClosed;
  }

  get server(): string {
    return this.#server.party.address;
  }

  /** The client has it now, and the relay in a while. `accept` gives nothing when it no longer listens. */
  open(handler: ClientHandler, accept: (socket: ByteSocket) => SocketHandler | undefined): void {
    const { socket } = this.#client;
    this.#accept = accept;
    this.#there.send("open");
    socket.listen({
      data: (chunk) => handler.data(chunk),
      drain: () => handler.drain(),
      closed: (why) => handler.closed(why),
    });
    handler.open(socket);
  }

  /** Something on the way forgets the connection: each side is told after a while, or is not. */
  cut(): void {
    if (this.#cut) return;
    const { scheduler, prng, faults } = this.#network;
    this.#cut = true;
    for (const { socket } of [this.#client, this.#server]) {
      if (prng.chance(faults.silentCut)) continue;
      scheduler.at(scheduler.now() + prng.fraction() * faults.noticeMs, () =>
        socket.broken("connection reset by peer (ECONNRESET)"),
      );
    }
    this.advance();
  }

  /** What gets through, and what does not, may have changed. */
  advance(): void {
    this.#there.advance();
    this.#back.advance();
  }

  /** A process is no more: its kernel closes its sockets, with a FIN or a reset. */
  abandonedBy(process: SimProcess): void {
    for (const [side, out] of [
      [this.#client, this.#there],
      [this.#server, this.#back],
    ] as const) {
      if (side.party.process !== process || side.socket.isClosed) continue;
      if (this.#network.prng.chance(0.5)) this.#reset(side, out);
      else side.socket.shutdown();
      side.socket.abandon();
    }
  }

  /** The machine at `address` forgets all that it had, and sends nothing. */
  powerLost(address: string): void {
    for (const [side, out] of [
      [this.#client, this.#there],
      [this.#server, this.#back],
    ] as const) {
      if (side.party.address !== address) continue;
      out.drop();
      side.socket.abandon();
    }
  }

  #pipe(from: Side, to: Side): Pipe {
    const { scheduler, prng, faults } = this.#network;
    return new Pipe(scheduler, prng, faults, {
      passable: () => this.#passes(from, to),
      reading: () => to.socket.reading,
      arrived: (item) => (item === "open" ? this.#accepted() : to.socket.arrived(item)),
      room: () => from.socket.room(),
      broken: (why) => from.socket.broken(why),
    });
  }

  #passes(from: Side, to: Side): boolean {
    return !this.#cut && this.#network.reaches(from.party.address, to.party.address);
  }

  #attach(side: Side, other: Side, out: Pipe, into: Pipe): void {
    side.socket.attach({
      out,
      in: into,
      reset: () => this.#reset(side, out),
      closed: () => {
        if (other.socket.isClosed) this.#onOver();
      },
    });
  }

  /** A reset goes out once: where it does not get through, the other side learns nothing. */
  #reset(from: Side, out: Pipe): void {
    const to = from === this.#client ? this.#server : this.#client;
    const { scheduler } = this.#network;
    scheduler.at(scheduler.now() + out.delay(), () => {
      out.drop();
      if (this.#passes(from, to)) to.socket.broken("connection reset by peer (ECONNRESET)");
    });
  }

  /** @returns false where nobody wants the connection any more */
  #accepted(): boolean {
    const { party, socket } = this.#server;
    if (!party.process.alive || socket.isClosed) return false;
    let handler: SocketHandler | undefined;
    try {
      handler = this.#accept?.(socket);
    } catch {
      handler = undefined;
    }
    if (handler === undefined) {
      socket.terminate();
      return true;
    }
    const told = handler;
    socket.listen({
      data: (chunk) => told.data(chunk),
      drain: () => told.drain(),
      closed: () => told.closed(),
    });
    return true;
  }
}
