/** A network between clients and a relay: it delays, one connection more than another, and cuts. */
import { connect, createServer, type Server, type Socket } from "node:net";

export class BadNetwork {
  readonly port: Promise<number>;
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  #cuts = 0;

  /** @param relayPort where everything goes */
  constructor(relayPort: number) {
    this.#server = createServer((near) => this.#carry(near, relayPort));
    this.port = new Promise((resolve) => {
      this.#server.listen(0, "127.0.0.1", () => {
        const address = this.#server.address();
        resolve(typeof address === "object" && address !== null ? address.port : 0);
      });
    });
  }

  /** Connections that were cut. */
  get cuts(): number {
    return this.#cuts;
  }

  #carry(near: Socket, relayPort: number): void {
    const far = connect({ port: relayPort, host: "127.0.0.1" });
    // Each connection has a delay of its own, so that what is sent later may arrive earlier.
    const delay = Math.random() < 0.5 ? 0 : Math.random() * 80;
    for (const [from, to] of [
      [near, far],
      [far, near],
    ] as const) {
      this.#sockets.add(from);
      from.on("data", (chunk: Buffer) => {
        // A piece at a time, so that frames come in parts.
        const middle = Math.floor(Math.random() * chunk.length);
        for (const piece of [chunk.subarray(0, middle), chunk.subarray(middle)]) {
          if (piece.length > 0) setTimeout(() => to.write(piece), delay);
        }
        if (to.writableLength > 1 << 20) {
          from.pause();
          to.once("drain", () => from.resume());
        }
      });
      from.on("end", () => setTimeout(() => to.end(), delay));
      from.on("error", () => to.destroy());
      from.on("close", () => {
        this.#sockets.delete(from);
        setTimeout(() => to.destroy(), delay + 1);
      });
    }
  }

  /** Cuts some of the connections, in the middle of whatever they carry. */
  cut(part = 0.3): void {
    for (const socket of this.#sockets) {
      if (Math.random() < part) {
        socket.destroy();
        this.#cuts += 1;
      }
    }
  }

  stop(): void {
    this.#server.close();
    for (const socket of this.#sockets) socket.destroy();
  }
}
