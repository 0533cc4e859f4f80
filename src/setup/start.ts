/**
 * npm start: a relay on this machine and you in its room; without a terminal a short conversation
 * between two clients, whose success is the exit code.
 */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { DEFAULT_PORT } from "../cli/values.ts";
import { defaultKeyFile } from "../client/keyfile.ts";
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

/** Starts a relay on localhost; resolves when it listens. */
async function startRelay(port: number): Promise<RunningRelay | undefined> {
  const relay = Bun.spawn([SERVER, "--host", "127.0.0.1", "--port", String(port)], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  let text = "";
  for await (const chunk of relay.stdout.pipeThrough(new TextDecoderStream())) {
    text += chunk;
    const listening = text.match(/listening on \S+:(\d+)/);
    if (listening === null) continue;
    return {
      port: Number(listening[1]),
      stop: async () => {
        relay.kill("SIGTERM");
        await relay.exited;
      },
    };
  }
  return undefined;
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
  const listening = (async () => {
    let rest = "";
    for await (const chunk of bob.stdout.pipeThrough(new TextDecoderStream())) {
      const lines = (rest + chunk).split("\n");
      rest = lines.pop() ?? "";
      for (const line of lines) {
        const event = JSON.parse(line) as {
          event: string;
          own?: boolean;
          nick: string;
          text: string;
        };
        if (event.event === "crypto") console.log(`encryption: ${event.text}`);
        // Bob is in the room: ann may begin.
        if (event.event === "join" && event.own) ann.stdin.end(`${LINES.join("\n")}\n`);
        if (event.event === "text") {
          heard.push(event.text);
          console.log(`bob hears ${event.nick}: ${event.text}`);
        }
        if (heard.length === LINES.length) return;
      }
    }
  })();
  const ann = join("ann");
  await Promise.race([Promise.all([listening, ann.exited]), Bun.sleep(20_000)]);
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

await ensureExecutables();
ensureKey();
process.exit(await (process.stdin.isTTY && process.stdout.isTTY ? chat() : conversation()));
