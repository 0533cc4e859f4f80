/**
 * Everything goes wrong at once, for three minutes in CI, for half a minute elsewhere, or for
 * CHAT_CHAOS_SECONDS: relays are killed, connections cut and delayed, other clients stall, vanish, flood
 * and send garbage. What was acknowledged must have reached every client that stayed or came back, once
 * and in the same order.
 */
import { afterAll, expect, setDefaultTimeout, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { Socket } from "bun";
import { ENTRY_EXTRA_BYTES } from "../src/protocol/entry.ts";
import { FrameParser, FrameType, readU32 } from "../src/protocol/frame.ts";
import { roomId } from "../src/protocol/keys.ts";
import { BadNetwork } from "./support/bad-network.ts";
import { client, type Program, RelayProcess, Scratch, until } from "./support/programs.ts";
import { hello, RawClient, sendFrame } from "./support/raw-client.ts";

const SECONDS = Number(process.env.CHAT_CHAOS_SECONDS ?? (process.env.CI ? 180 : 30));
setDefaultTimeout((SECONDS + 180) * 1000);

const scratch = new Scratch();
afterAll(() => scratch.remove());

const MIB = 1 << 20;
/** What a relay of these tests may need: the runtime, rings, what stalled clients hold. */
const MEMORY = 256 * MIB;

/** Resident memory of a process, in bytes. */
function memory(program: Program): number {
  const status = readFileSync(`/proc/${program.process.pid}/status`, "latin1");
  return Number(status.match(/^VmRSS:\s+(\d+) kB/m)?.[1]) * 1024;
}

/** Clients that nobody wants, each for a while: what they do must harm nobody else. */
const PESTS: ((port: number, room: Uint8Array) => Promise<void>)[] = [
  // Joins and reads nothing.
  async (port, room) => {
    const pest = await RawClient.join(port, { room, start: { kind: "last", count: 1e9 } });
    pest.socket?.pause();
    await Bun.sleep(2000);
    pest.socket?.terminate();
  },
  // Vanishes in the middle of a frame.
  async (port, room) => {
    const pest = await RawClient.join(port, { room });
    pest.write(sendFrame("x".repeat(1000)).subarray(0, 500));
    await Bun.sleep(20);
    pest.socket?.terminate();
  },
  // Closes its side at once and reads on.
  async (port, room) => {
    const pest = await RawClient.join(port, { room });
    pest.socket?.shutdown();
    await Bun.sleep(500);
    pest.close();
  },
  // Sends what no member can have sealed.
  async (port, room) => {
    const pest = await RawClient.join(port, { room });
    for (let i = 0; i < 20; i++) pest.send("x".repeat(i * 50));
    await Bun.sleep(50);
    pest.close();
  },
  // Comes back again and again under one token, and is read by nobody meanwhile.
  async (port, room) => {
    const token = crypto.getRandomValues(new Uint8Array(16));
    for (let i = 0; i < 5; i++) {
      const pest = await RawClient.join(port, { room, token });
      pest.send("again");
      pest.socket?.pause();
    }
  },
  // Floods a room of its own.
  async (port) => {
    const pest = await RawClient.join(port, { room: crypto.getRandomValues(new Uint8Array(32)) });
    for (let i = 0; i < 200; i++) pest.send("x".repeat(10_000));
    await Bun.sleep(500);
    pest.socket?.terminate();
  },
  // Sends garbage, before and after a HELLO.
  async (port, room) => {
    const garbage = crypto.getRandomValues(new Uint8Array(4096));
    const pest = await RawClient.connect(port);
    pest.write(Math.random() < 0.5 ? garbage : Buffer.concat([hello({ room }), garbage]));
    await Bun.sleep(100);
    pest.close();
  },
  // Says nothing at all.
  async (port) => {
    const pest = await RawClient.connect(port);
    await Bun.sleep(3000);
    pest.close();
  },
];

/** @param rooms a pest's turns go round them */
async function annoy(
  port: () => number,
  rooms: readonly Uint8Array[],
  ended: () => boolean,
): Promise<number> {
  let count = 0;
  while (!ended()) {
    const pest = PESTS[count % PESTS.length];
    const room = rooms[Math.floor(count / PESTS.length) % rooms.length] as Uint8Array;
    // The relay may be away just now; that is the pest's trouble.
    await pest?.(port(), room).catch(() => undefined);
    count += 1;
  }
  return count;
}

test(`${SECONDS} s of killed relays, bad network and hostile clients: nothing is lost, doubled or out of order`, async () => {
  const key = scratch.key();
  const flags = ["--data", join(scratch.path, "data"), "--rate", "0", "--byte-rate", "0"];
  const limits = ["--ring-bytes", "256K", "--handshake-timeout", "2", "--keep-bytes", "0"];
  let relay = await RelayProcess.start(...flags, ...limits);
  const port = String(relay.port);
  const network = new BadNetwork(relay.port);
  const networkPort = await network.port;
  const nicks = ["ann", "bob", "cid", "dot"];
  const chatters = nicks.map((nick) =>
    client(networkPort, key, "--nick", nick, "--json", "--listen", "--timeout", "600"),
  );
  const stranger = client(
    relay.port,
    scratch.key("other.key"),
    "--json",
    "--listen",
    "--timeout",
    "600",
  );
  for (const chatter of chatters) {
    await until("all to join", () => chatter.events().some((e) => e.event === "join" && e.own));
  }
  const end = performance.now() + SECONDS * 1000;
  const ended = () => performance.now() > end;
  // Most of them in the chatters' own room.
  const own = roomId(Buffer.from(readFileSync(key, "latin1").trim(), "hex"), "lobby");
  const rooms = [own, own, new Uint8Array(32).fill(3)];
  const pests = [0, 1, 2].map(() => annoy(() => Number(port), rooms, ended));
  const sent = new Map<string, number>(nicks.map((nick) => [nick, 0]));
  const chat = async () => {
    while (!ended()) {
      for (const [i, chatter] of chatters.entries()) {
        const nick = nicks[i] ?? "";
        const number = sent.get(nick) ?? 0;
        sent.set(nick, number + 1);
        chatter.write(`${nick} ${number}\n`);
      }
      await Bun.sleep(40);
    }
  };
  let kills = 0;
  let greatest = 0;
  const wreck = async () => {
    while (!ended()) {
      await Bun.sleep(1000 + Math.random() * 3000);
      network.cut();
      greatest = Math.max(greatest, memory(relay));
      if (Math.random() < 0.4) {
        relay.kill("SIGKILL");
        await relay.process.exited;
        await Bun.sleep(Math.random() * 500);
        relay = await RelayProcess.start(...flags, ...limits, "--port", port);
        kills += 1;
      }
    }
  };
  await Promise.all([chat(), wreck()]);
  const annoyed = (await Promise.all(pests)).reduce((a, b) => a + b, 0);

  const total = [...sent.values()].reduce((a, b) => a + b, 0);
  const texts = chatters.map((chatter) => () => chatter.texts());
  await until(
    "everybody to have everything",
    () => texts.every((all) => all().length >= total),
    60_000,
  );
  const [first = []] = texts.map((all) => all());
  for (const all of texts) expect(all()).toEqual(first);
  expect(new Set(first).size).toBe(first.length);
  for (const nick of nicks) {
    const own = first.filter((text) => text.startsWith(`${nick} `));
    expect(own).toEqual(Array.from({ length: sent.get(nick) ?? 0 }, (_, i) => `${nick} ${i}`));
  }
  for (const chatter of chatters) {
    const warnings = chatter.events().filter((event) => event.event === "warning");
    // What the pests said there is seen to be nobody's, and nothing else is wrong.
    expect(warnings.filter(({ warning }) => warning !== "forged")).toEqual([]);
    expect(warnings.length).toBeGreaterThan(0);
  }
  expect(stranger.texts()).toEqual([]);
  expect(relay.stdout).not.toContain("error");
  expect(greatest).toBeLessThan(MEMORY);
  expect(memory(relay)).toBeLessThan(MEMORY);
  expect([kills > 0, network.cuts > 0, annoyed > 0]).toEqual([true, true, true]);
  console.log(
    `${total} messages, ${kills} kills, ${network.cuts} cuts, ${annoyed} pests, at most ${Math.round(greatest / MIB)} MiB`,
  );
  for (const chatter of [...chatters, stranger]) chatter.kill("SIGKILL");
  network.stop();
  await relay.stop();
});

/** A client of few bytes: counts entries and sums up their order. */
class Counting {
  entries = 0;
  order = 0;
  welcomed = false;
  socket: Socket | undefined;
  readonly #parser = new FrameParser(65_536 + ENTRY_EXTRA_BYTES);

  static async join(port: number, room: Uint8Array): Promise<Counting> {
    const counting = new Counting();
    counting.socket = await Bun.connect({
      hostname: "127.0.0.1",
      port,
      socket: {
        data: (_, chunk) => {
          counting.#parser.feed(chunk, counting.#frame);
        },
        error: () => undefined,
      },
    });
    counting.socket.write(hello({ room }));
    return counting;
  }

  readonly #frame = (type: number, bytes: Uint8Array, start: number, end: number): undefined => {
    if (type === FrameType.WELCOME) this.welcomed = true;
    if (type !== FrameType.ENTRY) return;
    this.entries += 1;
    this.order = (Math.imul(this.order, 31) + readU32(bytes, end - 4)) | 0;
    if (end - start < 16) throw new Error("an entry without its text");
  };
}

const CROWD = 10_000;
const ROOMS = 100;

test(`${CROWD} connections in ${ROOMS} rooms, ${CROWD / 10} of them talking: everybody hears their room, in one order`, async () => {
  const quiet = ["--quiet", "--max-per-address", String(CROWD), "--ring-bytes", "256K"];
  const relay = await RelayProcess.start(...quiet, "--handshake-timeout", "60");
  const rooms: Counting[][] = [];
  for (let i = 0; i < ROOMS; i++) {
    const room = new Uint8Array(32).fill(i + 1);
    const joining = Array.from({ length: CROWD / ROOMS }, () => Counting.join(relay.port, room));
    rooms.push(await Promise.all(joining));
  }
  const crowd = rooms.flat();
  await until("all to be welcomed", () => crowd.every((each) => each.welcomed), 60_000);
  const ROUNDS = 10;
  for (let round = 0; round < ROUNDS; round++) {
    for (const members of rooms) {
      for (const [i, member] of members.slice(0, members.length / 10).entries()) {
        member.socket?.write(sendFrame(`${round}-${i}`.padStart(16, "0")));
      }
    }
    await Bun.sleep(20);
  }
  const expected = (CROWD / ROOMS / 10) * ROUNDS;
  await until("everything", () => crowd.every((each) => each.entries === expected), 60_000);
  for (const members of rooms) {
    expect(new Set(members.map((member) => member.order)).size).toBe(1);
  }
  // 20 KiB a connection would be 160 MiB.
  expect(memory(relay)).toBeLessThan(MEMORY);
  for (const each of crowd) each.socket?.terminate();
  await relay.stop();
});

test("with no descriptor left a relay serves who is there, and others when there is room again", async () => {
  const relay = new RelayProcess([
    "sh",
    "-c",
    'ulimit -n 64; exec "$0" "$@"',
    ...[join(import.meta.dir, "../chat-server"), "--host", "127.0.0.1", "--port", "0"],
  ]);
  const port = Number(
    await until("the relay to listen", () => relay.stdout.match(/listening on \S+:(\d+)\n/)?.[1]),
  );
  const ann = await RawClient.join(port);
  const bob = await RawClient.join(port);
  // More than there are descriptors, whatever the relay thinks that it can afford.
  const tries = Array.from({ length: 100 }, () => RawClient.connect(port).catch(() => undefined));
  // Some are cut off at once.
  const many = (await Promise.all(tries)).filter((one) => one !== undefined);
  ann.send("heard all the same");
  await until("the message", () => bob.texts.includes("heard all the same"));
  for (const each of many) each.socket?.terminate();
  await until("to be let in again", () => relay.stdout.match(/disconnected/g)?.length ?? 0 > 5);
  const cid = await RawClient.join(port);
  expect(cid.welcomed).toBeDefined();
  ann.send("and now");
  await until("the message", () => cid.texts.includes("and now"));
  expect(await relay.stop()).toBe(0);
  expect(relay.stderr).toBe("");
});
