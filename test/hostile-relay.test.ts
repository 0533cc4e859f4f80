/** What a relay, or somebody in its place, can try: every client says what was done to it. */
import {
  afterAll,
  afterEach,
  beforeEach,
  describe,
  expect,
  setDefaultTimeout,
  test,
} from "bun:test";
import { encodeFrame, FrameType, writeU64 } from "../src/protocol/frame.ts";
import { HostileRelay, type Tamper } from "./support/hostile-relay.ts";
import { client, joined, type Program, RelayProcess, Scratch, until } from "./support/programs.ts";

setDefaultTimeout(60_000);

const scratch = new Scratch();
const key = scratch.key();
let relay: RelayProcess;
let proxy: HostileRelay;
let victim: Program;
let sender: Program;

beforeEach(async () => {
  relay = await RelayProcess.start();
  proxy = new HostileRelay(relay.port);
  victim = await joined(proxy.port, key, "victim");
  sender = await joined(relay.port, key, "sender");
  await until("the two to know each other", () => victim.events().some((e) => e.nick === "sender"));
  // The answers to the joins are out: what follows is only what the test sends.
  await until("the answer", () => sender.events().some((e) => e.nick === "victim"));
});

afterEach(async () => {
  for (const program of [victim, sender]) program.kill("SIGKILL");
  proxy.stop();
  await relay.stop();
});

afterAll(() => scratch.remove());

/** Tampers with the entries that carry messages, `n` being 0 for the first of them. */
function entries(change: (n: number, frame: Uint8Array) => Uint8Array[]): Tamper {
  let n = 0;
  return (type, body) => {
    const frame = encodeFrame(type, body);
    return type === FrameType.ENTRY ? change(n++, frame) : [frame];
  };
}

const warnings = () => victim.events().flatMap((e) => (e.event === "warning" ? [e.warning] : []));

async function say(...texts: string[]): Promise<void> {
  for (const text of texts) sender.write(`${text}\n`);
  await until("the sender's acknowledgements", () => {
    const acknowledged = sender
      .events()
      .flatMap((e) => (e.event === "delivered" ? (e.numbers ?? []) : []));
    return acknowledged.length >= texts.length;
  });
}

describe("a relay that", () => {
  test("repeats an entry is found out, and it is shown once", async () => {
    proxy.tamper = entries((n, frame) => (n === 0 ? [frame, frame] : [frame]));
    await say("one", "two");
    await until("both", () => victim.texts().length === 2);
    expect(victim.texts()).toEqual(["one", "two"]);
    expect(warnings()).toEqual(["replayed"]);
  });

  test("repeats an old entry as a new one is found out", async () => {
    let old: Uint8Array | undefined;
    proxy.tamper = entries((_, frame) => {
      old ??= frame;
      return [frame];
    });
    await say("one", "two", "three");
    await until("three", () => victim.texts().length === 3);
    const again = Uint8Array.from(old ?? []);
    writeU64(again, 5, 1000);
    proxy.inject(again);
    await until("the warning", () => warnings().length > 0);
    expect(warnings()).toEqual(["replayed"]);
    expect(victim.texts()).toEqual(["one", "two", "three"]);
  });

  test("swaps entries is found out", async () => {
    let held: Uint8Array | undefined;
    proxy.tamper = entries((n, frame) => {
      if (n === 0) {
        held = frame;
        return [];
      }
      return n === 1 && held !== undefined ? [frame, held] : [frame];
    });
    await say("one", "two", "three");
    await until("three", () => victim.texts().includes("three"));
    expect(victim.texts()).toEqual(["two", "three"]);
    expect(warnings()).toEqual(["skipped", "replayed"]);
  });

  test("drops an entry is found out at the sender's next one", async () => {
    proxy.tamper = entries((n, frame) => (n === 1 ? [] : [frame]));
    await say("one", "two", "three");
    await until("three", () => victim.texts().includes("three"));
    expect(victim.texts()).toEqual(["one", "three"]);
    expect(warnings()).toEqual(["skipped"]);
  });

  test("alters an entry is found out, and the text is not shown", async () => {
    proxy.tamper = entries((n, frame) => {
      if (n === 0) frame[100] = (frame[100] as number) ^ 1;
      return [frame];
    });
    await say("one", "two");
    await until("two", () => victim.texts().includes("two"));
    expect(victim.texts()).toEqual(["two"]);
    expect(warnings()).toEqual(["forged", "skipped"]);
  });

  test("makes an entry up is found out", async () => {
    const made = new Uint8Array(12 + 220);
    writeU64(made, 0, 999);
    proxy.inject(encodeFrame(FrameType.ENTRY, made));
    await until("the warning", () => warnings().length > 0);
    expect(warnings()).toEqual(["forged"]);
  });

  test("moves an entry from another room under the same key is found out", async () => {
    const other = await joined(relay.port, key, "other", "--room", "elsewhere");
    const stolen: Uint8Array[] = [];
    const thief = new HostileRelay(relay.port);
    thief.tamper = entries((_, frame) => {
      stolen.push(frame);
      return [frame];
    });
    const accomplice = await joined(thief.port, key, "accomplice", "--room", "elsewhere");
    other.write("only for elsewhere\n");
    await until("the message there", () => accomplice.texts().length === 1);
    const loot = [...stolen];
    expect(loot.length).toBeGreaterThan(0);
    for (const frame of loot) proxy.inject(frame);
    await until("the warnings", () => warnings().length === loot.length);
    expect(new Set(warnings())).toEqual(new Set(["forged"]));
    expect(victim.texts()).toEqual([]);
    for (const program of [other, accomplice]) program.kill("SIGKILL");
    thief.stop();
  });

  test("sends a client's own message back to it a second time is found out", async () => {
    let own: Uint8Array | undefined;
    proxy.tamper = entries((_, frame) => {
      own ??= frame;
      return [frame];
    });
    victim.write("mine\n");
    await until("its own", () => victim.texts().length === 1);
    proxy.inject(own ?? new Uint8Array());
    await until("the warning", () => warnings().length > 0);
    expect(warnings()).toEqual(["replayed"]);
    expect(victim.texts()).toEqual(["mine"]);
  });

  test("sends frames that are none is left, and the client comes back", async () => {
    proxy.inject(encodeFrame(0x99, new Uint8Array(3)));
    await until("the disconnect", () => victim.event("disconnected"));
    await until(
      "the return",
      () => victim.events().filter((e) => e.event === "connected").length === 2,
    );
    await say("one");
    await until("one", () => victim.texts().includes("one"));
  });

  test("puts control sequences into its remarks can't reach the terminal with them", async () => {
    const evil = Buffer.concat([
      Uint8Array.of(0, 11),
      Buffer.from("\u001b]0;owned\u0007\u001b[2J"),
    ]);
    proxy.inject(encodeFrame(FrameType.NOTICE, evil));
    await until("the notice", () => victim.event("notice"));
    expect(victim.stdout).not.toMatch(/[\u0000-\u0009\u000b-\u001f\u007f-\u009f]/);
    expect(victim.event("notice")?.text).toBe("\u241b]0;owned\u2407\u241b[2J");
  });
});

test("nothing that passes the relay holds a text, a nick, a room's name or the key", async () => {
  const secretRoom = "A-very-secret-room-name";
  const tap = new HostileRelay(relay.port);
  const [ann, bob] = [
    await joined(tap.port, key, "Annabella-nick", "--room", secretRoom),
    await joined(tap.port, key, "Bobolink-nick", "--room", secretRoom),
  ];
  ann.write("The-plain-text-of-Ann\n");
  bob.write("The-plain-text-of-Bob\n");
  for (const program of [ann, bob]) await until("both texts", () => program.texts().length === 2);
  for (const program of [ann, bob]) program.kill();
  await Promise.all([ann.exited(), bob.exited()]);
  const captured = Buffer.concat(tap.capture);
  expect(captured.length).toBeGreaterThan(2000);
  const digits = (await Bun.file(key).text()).trim();
  const secrets = ["Annabella", "Bobolink", "plain-text", "secret-room", "lobby", digits];
  for (const secret of secrets) expect(captured.includes(secret)).toBe(false);
  expect(captured.includes(Buffer.from(digits, "hex"))).toBe(false);
  expect(relay.stdout).not.toMatch(/Annabella|Bobolink|plain-text|secret-room/);
  tap.stop();
});

test("a client without the key learns nothing and says why", async () => {
  const stranger = client(
    relay.port,
    scratch.key("other.key"),
    "--nick",
    "eve",
    "--json",
    "--listen",
  );
  await until("it to join its own room", () => stranger.events().some((e) => e.event === "join"));
  await say("not for eve");
  await Bun.sleep(100);
  expect(stranger.texts()).toEqual([]);
  stranger.kill("SIGKILL");
});
