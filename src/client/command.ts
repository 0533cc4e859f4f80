/** The command line of ./chat-client. */
import { readFileSync } from "node:fs";
import { BUN_CLIENT } from "../bun-transport.ts";
import { EXIT, type ExitCode, ExitError } from "../cli/exit.ts";
import { defaultKeyFile, newRoomKey, readKeyFile, writeKeyFile } from "../cli/keyfile.ts";
import { type Command, defineCommand } from "../cli/program.ts";
import { DEFAULT_PORT, type Endpoint, endpoint, wholeNumber } from "../cli/values.ts";
import { DeviceError } from "../crypto/backend.ts";
import { type Choices, type Chosen, chooseBackend } from "../crypto/choose.ts";
import { fingerprint, passphraseKey, roomId } from "../protocol/keys.ts";
import { SYSTEM } from "../runtime.ts";
import type { TlsOptions } from "../transport.ts";
import { VERSION } from "../version.ts";
import { Chat } from "./chat.ts";
import type { ChatEvent } from "./events.ts";
import { decodeInvite, encodeInvite } from "./invite.ts";
import { PipeUi } from "./pipe.ts";
import { askSecret, readSecret } from "./secret.ts";
import { TerminalUi } from "./terminal.ts";
import { nickProblem, roomProblem } from "./text.ts";

const DEFAULT_ROOM = "lobby";
const HISTORY_ON_TERMINAL = 20;

const positional = {
  type: "positional",
  required: false,
  valueHint: "[HOST[:PORT]]",
  description: `Where the relay is (Default: 127.0.0.1:${DEFAULT_PORT})`,
} as const;

const keyArgs = {
  room: {
    type: "string",
    description: "Name of the room; the relay never learns it",
    default: DEFAULT_ROOM,
  },
  "key-file": {
    type: "string",
    valueHint: "path",
    description: `Room key (Default: ${tilde(defaultKeyFile())})`,
  },
  passphrase: { type: "boolean", description: "Ask for a passphrase instead of a key file" },
  "passphrase-fd": {
    type: "string",
    valueHint: "fd",
    description: "Read the passphrase from a descriptor",
  },
} as const;

function tilde(path: string): string {
  const home = process.env.HOME;
  return home && path.startsWith(`${home}/`) ? `~${path.slice(home.length)}` : path;
}

interface KeyArgs {
  readonly room: string;
  readonly "key-file"?: string | undefined;
  readonly passphrase?: boolean | undefined;
  readonly "passphrase-fd"?: string | undefined;
}

async function roomKeyOf(args: KeyArgs): Promise<Uint8Array> {
  const fd = args["passphrase-fd"];
  if (!args.passphrase && fd === undefined) {
    return readKeyFile(args["key-file"] ?? defaultKeyFile());
  }
  if (args["key-file"] !== undefined) {
    throw new ExitError(EXIT.USAGE, "a key file or a passphrase, not both");
  }
  const passphrase =
    fd === undefined
      ? await askSecret(`Passphrase of room "${args.room}": `)
      : readSecret(wholeNumber("passphrase-fd", fd, 0, 1023));
  if (passphrase === "") throw new ExitError(EXIT.DATAERR, "the passphrase is empty");
  return passphraseKey(passphrase, args.room);
}

function checkedRoom(room: string): string {
  const problem = roomProblem(room);
  if (problem === undefined) return room;
  throw new ExitError(EXIT.USAGE, `--room: ${problem}`);
}

function checkedNick(nick: string): string {
  const problem = nickProblem(nick);
  if (problem === undefined) return nick;
  throw new ExitError(EXIT.USAGE, `--nick: ${problem}`);
}

/** The user's name; from /etc/passwd where the environment has none, as on a serial console. */
function userName(): string {
  const { USER, LOGNAME } = process.env;
  if (USER || LOGNAME) return USER || LOGNAME || "";
  try {
    const uid = String(process.getuid?.());
    const users = readFileSync("/etc/passwd", "utf8").split("\n");
    const user = users.map((line) => line.split(":")).find((fields) => fields[2] === uid);
    return user?.[0] || "guest";
  } catch {
    return "guest";
  }
}

function where(host: string | undefined): Endpoint {
  return endpoint(host ?? `127.0.0.1:${DEFAULT_PORT}`);
}

const tlsArg = {
  type: "boolean",
  description: "The relay speaks TLS, so that the network sees less",
} as const;

/** @param choices what --crypto has to choose from */
export const chatCommand = (choices: Choices) =>
  defineCommand(
    {
      name: "chat-client",
      version: VERSION,
      description: "Joins an encrypted group chat",
    },
    {
      host: positional,
      nick: { type: "string", description: "What the others call you (Default: your user name)" },
      ...keyArgs,
      tls: tlsArg,
      "tls-ca": {
        type: "string",
        valueHint: "path",
        description: "Certificates (PEM) that the relay's must come from; implies --tls",
      },
      "access-file": {
        type: "string",
        valueHint: "path",
        description: "Access key of a relay that is not open to everybody",
      },
      crypto: {
        type: "string",
        valueHint: "auto|software|PATH",
        description:
          "Where the cipher runs: in /dev/crypto for the sizes for which it is faster, in software, or in that device",
        default: "auto",
      },
      history: {
        type: "string",
        valueHint: "n",
        description: `Earlier entries wanted (Default: ${HISTORY_ON_TERMINAL} on a terminal, 0 in a pipe)`,
      },
      json: {
        type: "boolean",
        description: "In a pipe: one JSON object a line for all that happens",
      },
      listen: { type: "boolean", description: "In a pipe: go on receiving when stdin ends" },
      timeout: {
        type: "string",
        valueHint: "s",
        description:
          "Seconds until giving up while nothing is accepted (Default: never on a terminal, 10 in a pipe)",
      },
      quiet: { type: "boolean", description: "In a pipe: no news of the connection on stderr" },
    },
    async (args) => {
      const target = where(args.host);
      const room = checkedRoom(args.room);
      const nick = checkedNick(args.nick ?? userName());
      const onTerminal =
        process.stdin.isTTY === true && process.stdout.isTTY === true && !args.json && !args.listen;
      const history = wholeNumber(
        "history",
        args.history ?? String(onTerminal ? HISTORY_ON_TERMINAL : 0),
        0,
        1e6,
      );
      const seconds = args.timeout ?? (onTerminal ? undefined : "10");
      const patienceMs =
        seconds === undefined
          ? Number.POSITIVE_INFINITY
          : wholeNumber("timeout", seconds, 0, 1e6) * 1000;
      const tls = tlsOptions(args.tls, args["tls-ca"]);
      const accessKey = accessKeyOf(args["access-file"], target, tls);
      const roomKey = await roomKeyOf({ ...args, room });
      const ui = onTerminal
        ? new TerminalUi()
        : new PipeUi({
            format: args.json ? "json" : "text",
            atEnd: args.listen ? "listen" : "leave",
            asides: args.quiet ? "hidden" : "shown",
            room,
          });
      const onEvent = (event: ChatEvent) => ui.onEvent(event);
      const { backend, reason } = openBackend(args.crypto, choices, onEvent);
      onEvent({ type: "crypto", text: reason });
      const id = roomId(roomKey, room);
      const chat = new Chat({
        runtime: SYSTEM,
        transport: BUN_CLIENT,
        endpoint: target,
        roomKey,
        roomId: id,
        nick,
        backend,
        tls,
        accessKey,
        history,
        patienceMs,
        onEvent,
      });
      await leaveWith(await ui.run(chat), roomKey);
    },
  );

function tlsOptions(tls: boolean | undefined, ca: string | undefined): TlsOptions | undefined {
  if (ca === undefined) return tls ? {} : undefined;
  try {
    return { ca: readFileSync(ca, "utf8") };
  } catch (error) {
    throw new ExitError(EXIT.NOINPUT, `--tls-ca: can't read ${ca} (${error})`);
  }
}

/** Hosts to which nothing goes over a network. */
const LOCAL = new Set(["127.0.0.1", "::1", "localhost"]);

function accessKeyOf(path: string | undefined, target: Endpoint, tls: TlsOptions | undefined) {
  if (path === undefined) return undefined;
  if (tls === undefined && !LOCAL.has(target.host)) {
    throw new ExitError(
      EXIT.USAGE,
      "--access-file needs --tls: without it the network would see how to get in",
    );
  }
  return readKeyFile(path, "ask the relay's owner for it");
}

function openBackend(wish: string, choices: Choices, onEvent: (event: ChatEvent) => void): Chosen {
  const onFallback = (why: string) =>
    onEvent({ type: "warning", warning: "fallback", text: `${why}; going on in software` });
  try {
    return chooseBackend(wish, onFallback, choices);
  } catch (error) {
    if (error instanceof DeviceError) {
      throw new ExitError(EXIT.IOERR, `${error.message} (--crypto auto goes on without)`);
    }
    throw error;
  }
}

/** Ends the process: open handles such as stdin must not keep it. */
async function leaveWith(code: ExitCode, roomKey: Uint8Array): Promise<never> {
  roomKey.fill(0);
  await new Promise<void>((resolve) => {
    process.stdout.write("", () => resolve());
  });
  process.exit(code);
}

const keygenCommand = defineCommand(
  {
    name: "keygen",
    version: VERSION,
    description: "Makes a room key (mode 0600, never overwrites)",
  },
  { "key-file": keyArgs["key-file"] },
  (args) => {
    const path = args["key-file"] ?? defaultKeyFile();
    const key = newRoomKey();
    writeKeyFile(path, key);
    process.stdout.write(`${path}\n`);
    process.stderr.write(`fingerprint ${fingerprint(key)}\n`);
    key.fill(0);
  },
);

const inviteCommand = defineCommand(
  { name: "invite", version: VERSION, description: "Prints what another person needs to join" },
  { host: positional, tls: tlsArg, ...keyArgs },
  async (args) => {
    const room = checkedRoom(args.room);
    const target = where(args.host);
    if (target.host === "127.0.0.1" || target.host === "localhost") {
      process.stderr.write("Name the relay as others reach it: chat-client invite HOST[:PORT]\n");
    }
    const roomKey = await roomKeyOf({ ...args, room });
    process.stderr.write(
      "The next line holds the room's key: hand it over privately. The other person runs\n" +
        '"chat-client accept", pastes it, and compares the fingerprint with you:\n' +
        `fingerprint ${fingerprint(roomKey)}\n`,
    );
    process.stdout.write(
      `${encodeInvite({ endpoint: target, room, roomKey, tls: args.tls === true })}\n`,
    );
    roomKey.fill(0);
  },
);

const acceptCommand = defineCommand(
  { name: "accept", version: VERSION, description: "Takes an invite from stdin and keeps its key" },
  { "key-file": keyArgs["key-file"] },
  async (args) => {
    const text = process.stdin.isTTY
      ? await askSecret("Paste the invite (it is not shown): ")
      : readFileSync(0, "utf8").slice(0, 4096);
    const { endpoint: relay, room, roomKey, tls } = decodeInvite(text);
    const path = args["key-file"] ?? defaultKeyFile();
    writeKeyFile(path, roomKey);
    const words = [
      "chat-client",
      relay.host.includes(":") ? `[${relay.host}]:${relay.port}` : `${relay.host}:${relay.port}`,
    ];
    if (tls) words.push("--tls");
    if (room !== DEFAULT_ROOM) words.push("--room", quoted(room));
    if (args["key-file"] !== undefined) words.push("--key-file", quoted(path));
    process.stdout.write(`${words.join(" ")}\n`);
    process.stderr.write(`fingerprint ${fingerprint(roomKey)}\n`);
    roomKey.fill(0);
  },
);

/** A word as a shell takes it. */
function quoted(word: string): string {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;
}

const fingerprintCommand = defineCommand(
  {
    name: "fingerprint",
    version: VERSION,
    description: "Prints a short code: equal codes, equal keys",
  },
  keyArgs,
  async (args) => {
    const roomKey = await roomKeyOf({ ...args, room: checkedRoom(args.room) });
    process.stdout.write(`${fingerprint(roomKey)}\n`);
    roomKey.fill(0);
  },
);

export const subCommands: Readonly<Record<string, Command>> = {
  keygen: keygenCommand,
  invite: inviteCommand,
  accept: acceptCommand,
  fingerprint: fingerprintCommand,
};
