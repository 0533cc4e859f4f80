/**
 * npm start: a relay on this machine and you in its room; without a terminal a short conversation
 * between two clients, whose success is the exit code.
 */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { defaultKeyFile } from "../cli/keyfile.ts";
import { DEFAULT_PORT } from "../cli/values.ts";
import { ROOT } from "./build.ts";
import { ensureExecutables } from "./executables.ts";

const SERVER = join(ROOT, "chat-server");
const CLIENT = join(ROOT, "chat-client");

/** Makes the default key if there is none. */
function ensureKey(): void {
  if (existsSync(defaultKeyFile())) return;
  const { exitCode } = Bun.spawnSync([CLIENT, "keygen"], {
    stdio: ["ignore", "inherit", "inherit"],
  });
  if (exitCode !== 0) process.exit(exitCode);
}

interface RunningRelay {
  readonly port: number;
  stop(): Promise<void>;
}

/** Starts a relay on localhost; resolves when it listens, or with nothing when it can't. */
async function startRelay(port: number): Promise<RunningRelay | undefined> {
  const relay = Bun.spawn([SERVER, "--host", "127.0.0.1", "--port", String(port)], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  const listening = Promise.withResolvers<number>();
  // The log is read to its end, so that the relay is never held up; it is shown to nobody.
  const logging = readLines(relay.stdout, (line) => {
    const match = line.match(/listening on \S+:(\d+)$/);
    if (match !== null) listening.resolve(Number(match[1]));
  });
  const started = await Promise.race([listening.promise, logging]);
  if (started === undefined) return undefined;
  return {
    port: started,
    stop: async () => {
      relay.kill("SIGTERM");
      await relay.exited;
    },
  };
}

async function relayThere(): Promise<boolean> {
  try {
    const handlers = { data: () => undefined };
    const socket = await Bun.connect({
      hostname: "127.0.0.1",
      port: DEFAULT_PORT,
      socket: handlers,
    });
    socket.end();
    return true;
  } catch {
    return false;
  }
}

/** A relay and you, until you leave. */
async function chat(): Promise<number> {
  const there = await relayThere();
  const relay = there ? undefined : await startRelay(DEFAULT_PORT);
  if (!there && relay === undefined) return 69;
  console.log(
    there
      ? `A relay listens on port ${DEFAULT_PORT} already.`
      : `A relay listens on 127.0.0.1:${DEFAULT_PORT}.`,
  );
  console.log(`A second terminal joins with: ${CLIENT}`);
  const client = Bun.spawn([CLIENT], { stdio: ["inherit", "inherit", "inherit"] });
  const code = await client.exited;
  await relay?.stop();
  return code;
}

/** What ann sends and bob must hear, in this order. */
const LINES = ["Hello Bob, can you read this?", "The relay can't: it has no key.", "Bye!"];

/** How long each half of the conversation may take, in milliseconds. */
const PATIENCE_MS = 15_000;

/** Two clients talk through a relay of their own. */
async function conversation(): Promise<number> {
  const relay = await startRelay(0);
  if (relay === undefined) return 69;
  const join = (nick: string, ...more: string[]) =>
    Bun.spawn([CLIENT, `127.0.0.1:${relay.port}`, "--nick", nick, "--quiet", ...more], {
      stdio: ["pipe", "pipe", "inherit"],
    });
  const bob = join("bob", "--json", "--listen");
  const heard: string[] = [];
  const heardAll = Promise.withResolvers<void>();
  const bobIsThere = Promise.withResolvers<void>();
  const listening = readLines(bob.stdout, (line) => {
    const event = JSON.parse(line) as { event: string; own?: boolean; nick: string; text: string };
    if (event.event === "crypto") console.log(`encryption: ${event.text}`);
    if (event.event === "join" && event.own) bobIsThere.resolve();
    if (event.event === "text") {
      heard.push(event.text);
      console.log(`bob hears ${event.nick}: ${event.text}`);
    }
    if (heard.length === LINES.length) heardAll.resolve();
  });
  await Promise.race([bobIsThere.promise, listening, Bun.sleep(PATIENCE_MS)]);
  const ann = join("ann");
  ann.stdin.write(`${LINES.join("\n")}\n`);
  ann.stdin.end();
  await Promise.race([Promise.all([heardAll.promise, ann.exited]), Bun.sleep(PATIENCE_MS)]);
  bob.kill("SIGTERM");
  ann.kill("SIGTERM");
  const codes = [await ann.exited, await bob.exited];
  await relay.stop();
  const passed = codes.every((code) => code === 0) && Bun.deepEquals(heard, LINES);
  console.log(
    passed ? "Everything that ann sent, bob heard." : `Failed: exit codes ${codes.join(", ")}`,
  );
  if (passed) console.log("On a terminal, npm start puts you into the room.");
  return passed ? 0 : 1;
}

/** Calls `take` with each line. */
async function readLines(stream: ReadableStream<Uint8Array>, take: (line: string) => void) {
  const decoder = new TextDecoder();
  let rest = "";
  for await (const chunk of stream) {
    const lines = (rest + decoder.decode(chunk, { stream: true })).split("\n");
    rest = lines.pop() ?? "";
    lines.forEach(take);
  }
}

await ensureExecutables();
ensureKey();
process.exit(await (process.stdin.isTTY && process.stdout.isTTY ? chat() : conversation()));
