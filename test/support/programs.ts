/** The compiled programs as processes, and what a test wants to know of them. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Subprocess } from "bun";
import { ROOT } from "../../src/setup/build.ts";

export const SERVER = join(ROOT, "chat-server");
export const CLIENT = join(ROOT, "chat-client");

/** Waits until `condition` gives something true; throws with `what` when it does not in time. */
export async function until<T>(
  what: string,
  condition: () => T | undefined | false | null | Promise<T | undefined | false | null>,
  milliseconds = 15_000,
): Promise<T> {
  const deadline = performance.now() + milliseconds;
  for (;;) {
    const value = await condition();
    if (value) return value;
    if (performance.now() > deadline) throw new Error(`in vain waited for ${what}`);
    await Bun.sleep(5);
  }
}

/** A folder for one test file; removed by `remove`. */
export class Scratch {
  readonly path = mkdtempSync(join(tmpdir(), "chat-test-"));

  /** A key file with the given 64 hexadecimal digits, or random ones. */
  key(
    name = "room.key",
    digits = Buffer.from(crypto.getRandomValues(new Uint8Array(32))).toString("hex"),
  ) {
    const path = join(this.path, name);
    writeFileSync(path, `${digits}\n`, { mode: 0o600 });
    return path;
  }

  remove(): void {
    rmSync(this.path, { recursive: true, force: true });
  }
}

/** A process whose outputs are collected. */
export class Program {
  stdout = "";
  stderr = "";
  readonly process: Subprocess<"pipe", "pipe", "pipe">;
  readonly #streams: Promise<unknown>;

  constructor(command: string[], env: Record<string, string> = {}) {
    this.process = Bun.spawn(command, {
      stdio: ["pipe", "pipe", "pipe"],
      env: { ...process.env, USER: "tester", ...env },
    });
    this.#streams = Promise.all([
      this.#collect(this.process.stdout, (text) => {
        this.stdout += text;
      }),
      this.#collect(this.process.stderr, (text) => {
        this.stderr += text;
      }),
    ]);
  }

  async #collect(stream: ReadableStream<Uint8Array>, take: (text: string) => void): Promise<void> {
    const decoder = new TextDecoder();
    for await (const chunk of stream) take(decoder.decode(chunk, { stream: true }));
  }

  write(text: string): void {
    this.process.stdin.write(text);
    this.process.stdin.flush();
  }

  end(text = ""): void {
    if (text !== "") this.process.stdin.write(text);
    this.process.stdin.end();
  }

  kill(signal: NodeJS.Signals = "SIGTERM"): void {
    this.process.kill(signal);
  }

  /** Waits for the end: the exit code; all output is there then. */
  async exited(milliseconds = 20_000): Promise<number> {
    const code = await Promise.race([this.process.exited, Bun.sleep(milliseconds)]);
    if (code === undefined) {
      this.process.kill("SIGKILL");
      throw new Error(`still running after ${milliseconds} ms; stderr: ${this.stderr}`);
    }
    await this.#streams;
    return code;
  }

  /** The JSON objects that were printed, one a line. */
  events(): ChatLine[] {
    const lines = this.stdout.split("\n");
    return lines.slice(0, -1).map((line) => JSON.parse(line) as ChatLine);
  }

  event(name: string): ChatLine | undefined {
    return this.events().find((line) => line.event === name);
  }

  texts(): string[] {
    return this.events().flatMap((line) => (line.event === "text" ? [line.text ?? ""] : []));
  }
}

export interface ChatLine {
  readonly event: string;
  readonly room: string;
  readonly seq?: number;
  readonly sender?: string;
  readonly nick?: string;
  readonly name?: string;
  readonly text?: string;
  readonly time?: string;
  readonly own?: boolean;
  readonly history?: boolean;
  readonly verified?: boolean;
  readonly late?: boolean;
  readonly warning?: string;
  readonly numbers?: number[];
  readonly count?: number;
}

/** A relay process that listens. */
export class RelayProcess extends Program {
  port = 0;

  static async start(...flags: string[]): Promise<RelayProcess> {
    const port = flags.includes("--port") ? [] : ["--port", "0"];
    const relay = new RelayProcess([SERVER, "--host", "127.0.0.1", ...port, ...flags]);
    relay.port = Number(
      await until(
        "the relay to listen",
        () => relay.stdout.match(/listening on [^\s"]+:(\d+)["\n]/)?.[1],
      ),
    );
    return relay;
  }

  async stop(): Promise<number> {
    this.kill();
    return await this.exited();
  }
}

/** Starts a client; it prints JSON and keeps on listening unless told otherwise by `flags`. */
export function client(port: number, keyFile: string, ...flags: string[]): Program {
  return new Program([CLIENT, `127.0.0.1:${port}`, "--key-file", keyFile, ...flags]);
}

/** A client that prints JSON, listens, and has joined. */
export function joined(port: number, keyFile: string, nick: string, ...flags: string[]) {
  return joinedWith([CLIENT], port, keyFile, nick, ...flags);
}

/** The same with another client, `command`. */
export async function joinedWith(
  command: readonly string[],
  port: number,
  keyFile: string,
  nick: string,
  ...flags: string[]
): Promise<Program> {
  const words = [`127.0.0.1:${port}`, "--key-file", keyFile, "--nick", nick, "--json", "--listen"];
  const program = new Program([...command, ...words, ...flags]);
  await until(`${nick} to join`, () =>
    program.events().some((line) => line.event === "join" && line.own),
  );
  return program;
}
