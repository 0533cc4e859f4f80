/** A real nats-server with JetStream. */
import { createServer } from "node:net";
import { join } from "node:path";
import { Program, type Scratch, until } from "./programs.ts";

export class Nats {
  readonly port: number;
  readonly url: string;
  readonly #folder: string;
  #server: Program | undefined;

  private constructor(port: number, folder: string) {
    this.port = port;
    this.url = `nats://127.0.0.1:${port}`;
    this.#folder = folder;
  }

  static async start(scratch: Scratch): Promise<Nats> {
    const nats = new Nats(await freePort(), join(scratch.path, `nats-${crypto.randomUUID()}`));
    await nats.start();
    return nats;
  }

  /** Starts it, again, with what it had. */
  async start(): Promise<void> {
    const where = ["-a", "127.0.0.1", "-p", String(this.port)];
    const server = new Program(["nats-server", "-js", "-sd", this.#folder, ...where]);
    this.#server = server;
    await until("nats-server", () => server.stderr.includes("Server is ready"));
  }

  /** Ends it without a word. */
  async kill(): Promise<void> {
    this.#server?.kill("SIGKILL");
    await this.#server?.process.exited;
  }

  /** The link is there, and nothing comes over it. */
  pause(): void {
    this.#server?.kill("SIGSTOP");
  }

  resume(): void {
    this.#server?.kill("SIGCONT");
  }
}

function freePort(): Promise<number> {
  return new Promise((resolve) => {
    const probe = createServer().listen(0, "127.0.0.1", () => {
      const address = probe.address();
      const port = typeof address === "object" && address !== null ? address.port : 0;
      probe.close(() => resolve(port));
    });
  });
}
