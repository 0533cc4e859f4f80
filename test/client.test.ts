/** The compiled client in a pipe, with the compiled relay. */
import {
  afterAll,
  afterEach,
  beforeEach,
  describe,
  expect,
  setDefaultTimeout,
  test,
} from "bun:test";
import { chmodSync, existsSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { encodeFrame, FrameType } from "../src/protocol/frame.ts";
import { encodeRemark } from "../src/protocol/messages.ts";
import { HostileRelay } from "./support/hostile-relay.ts";
import {
  CLIENT,
  client,
  joined,
  Program,
  RelayProcess,
  Scratch,
  until,
} from "./support/programs.ts";

setDefaultTimeout(60_000);

const scratch = new Scratch();
const key = scratch.key();
let relay: RelayProcess;
const programs: Program[] = [];

beforeEach(async () => {
  relay = await RelayProcess.start("--rate", "0", "--byte-rate", "0");
});

afterEach(async () => {
  for (const program of programs.splice(0)) program.kill("SIGKILL");
  await relay.stop();
});

afterAll(() => scratch.remove());

async function listener(nick: string, ...flags: string[]): Promise<Program> {
  const program = await joined(relay.port, key, nick, ...flags);
  programs.push(program);
  return program;
}

async function send(text: string, ...flags: string[]): Promise<Program> {
  const program = client(relay.port, key, "--nick", "ann", ...flags);
  program.end(text);
  await program.exited();
  return program;
}

const lines = (count: number, prefix = "line") =>
  Array.from({ length: count }, (_, i) => `${prefix} ${i}`);

/** Lets `proxy` be a relay that welcomes, and closes as soon as something should be kept. */
function fullDisk(proxy: HostileRelay): { welcomes: number } {
  const seen = { welcomes: 0 };
  proxy.tamper = (type, body) => {
    if (type !== FrameType.WELCOME) {
      return [encodeRemark(FrameType.CLOSE, "storage", "no room on the disk")];
    }
    seen.welcomes += 1;
    return [encodeFrame(type, body)];
  };
  return seen;
}

describe("in a pipe", () => {
  test("lines become messages, and it ends when all are acknowledged", async () => {
    const bob = await listener("bob");
    const ann = await send(`${lines(1000).join("\n")}\n`);
    expect(ann.process.exitCode).toBe(0);
    expect(ann.stdout).toBe("");
    await until("all lines", () => bob.texts().length === 1000);
    expect(bob.texts()).toEqual(lines(1000));
    const first = bob.event("text");
    expect(first).toMatchObject({
      room: "lobby",
      nick: "ann",
      own: false,
      verified: true,
      history: false,
      late: false,
    });
    expect(Math.abs(Date.parse(first?.time ?? "") - Date.now())).toBeLessThan(60_000);
    await until("her leave", () => bob.event("leave"));
    expect(bob.event("leave")?.nick).toBe("ann");
  });

  test("messages become lines, and --listen goes on after the end of stdin", async () => {
    const bob = client(relay.port, key, "--nick", "bob", "--listen");
    programs.push(bob);
    bob.end("");
    await until("bob", () => bob.stderr.includes("you are in the room as bob"));
    await send("one\n\ntwo\nlast without newline");
    await until("the last", () => bob.stdout.includes("last"));
    expect(bob.stdout).toBe("ann: one\nann: \nann: two\nann: last without newline\n");
    bob.kill();
    expect(await bob.exited()).toBe(0);
  });

  test("an empty stdin joins, leaves and succeeds; --quiet says nothing", async () => {
    const ann = await send("", "--quiet");
    expect([ann.process.exitCode, ann.stdout, ann.stderr]).toEqual([0, "", ""]);
  });

  test("a line longer than a message arrives whole, in pieces, and so does any UTF-8", async () => {
    const bob = await listener("bob");
    const long = "\u00e4\u{1f600}x".repeat(15_000);
    await send(`${long}\n`);
    await until("all of it", () => bob.texts().join("").length === long.length);
    expect(bob.texts().join("")).toBe(long);
    expect(bob.texts().length).toBe(4);
  });

  test("a relay with a small frame limit gets smaller pieces", async () => {
    const small = await RelayProcess.start("--max-frame", "1024");
    const bob = await joined(small.port, key, "bob");
    programs.push(bob);
    const ann = client(small.port, key, "--nick", "ann");
    await until("ann", () => ann.stderr.includes("you are in the room"));
    ann.end(`${"y".repeat(3000)}\n`);
    expect(await ann.exited()).toBe(0);
    await until("all", () => bob.texts().join("").length === 3000);
    await small.stop();
  });

  test("what is too long for a relay is said, counted, and ends with 75", async () => {
    const small = await RelayProcess.start("--max-frame", "1024");
    const bob = await joined(small.port, key, "bob");
    programs.push(bob);
    const ann = client(small.port, key, "--nick", "ann");
    // Before the relay has said how much it takes.
    ann.end(`${"y".repeat(2000)}\nshort\n`);
    expect(await ann.exited()).toBe(75);
    expect(ann.stderr).toContain("too long for this relay");
    expect(ann.stderr).toContain("1 messages were not delivered");
    await until("the other", () => bob.texts().includes("short"));
    await small.stop();
  });

  test("a line without end is cut between characters", async () => {
    const bob = await listener("bob");
    const long = `a${"\u{1f600}".repeat(40_000)}`;
    await send(long);
    await until("all of it", () => bob.texts().join("").length === long.length);
    expect(bob.texts().join("") === long).toBe(true);
  });

  test("an input that can't be read is said, without a stack: 66", async () => {
    const words = [CLIENT, `127.0.0.1:${relay.port}`, "--key-file", key];
    const ann = new Program(["sh", "-c", '"$0" "$@" < /', ...words]);
    programs.push(ann);
    expect(await ann.exited()).toBe(66);
    expect(ann.stderr).toContain("can't read stdin");
    expect(ann.stderr).not.toContain("    at ");
  });

  test("--history shows what was said before, marked as history, and no stale presence", async () => {
    await send("a\nb\nc\n");
    const bob = await listener("bob", "--history", "10");
    await until("history", () => bob.texts().length === 3);
    expect(
      bob
        .events()
        .filter((e) => e.event === "text")
        .map((e) => [e.text, e.history]),
    ).toEqual([
      ["a", true],
      ["b", true],
      ["c", true],
    ]);
    expect(bob.events().filter((e) => e.event === "join" && !e.own)).toEqual([]);
  });

  test("others' control sequences and bidi overrides come out harmless, in text and in JSON", async () => {
    const evil = "\u001b[31mred\u0007 \u202egnp.exe \u009b2J \u2066x";
    const text = client(relay.port, key, "--nick", "bob", "--listen");
    programs.push(text);
    const json = await listener("carl");
    await until("bob", () => text.stderr.includes("you are in the room"));
    await send(`${evil}\n`);
    await until("the text", () => text.stdout.endsWith("\n"));
    expect(text.stdout).toBe("ann: \u241b[31mred\u2407 <U+202E>gnp.exe <U+009B>2J <U+2066>x\n");
    await until("the JSON", () => json.texts().length === 1);
    expect(json.texts()).toEqual([evil]);
    expect(json.stdout).not.toMatch(
      /[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069]/,
    );
  });

  test("two people of one nick are told apart", async () => {
    const bob = await listener("bob");
    const first = await listener("twin");
    const second = await listener("twin");
    first.write("from the first\n");
    second.write("from the second\n");
    await until("both", () => bob.texts().length === 2);
    const names = bob
      .events()
      .filter((e) => e.event === "text")
      .map((e) => e.name);
    for (const name of names) expect(name).toMatch(/^twin#[0-9a-f]{4}$/);
    expect(new Set(names).size).toBe(2);
  });

  test("someone who is killed is seen to be gone", async () => {
    const bob = await listener("bob");
    const ann = await listener("ann");
    await until("ann", () => bob.events().some((e) => e.event === "join" && e.nick === "ann"));
    ann.kill("SIGKILL");
    await until("lost", () => bob.event("lost"));
    expect(bob.event("lost")?.name).toBe("ann");
  });
});

describe("over a bad network", () => {
  test("a relay that is killed and started again under load: nothing lost, nothing twice", async () => {
    const { port } = relay;
    const bob = await listener("bob", "--timeout", "60");
    const ann = client(port, key, "--nick", "ann", "--timeout", "60");
    programs.push(ann);
    const sent = lines(3000);
    void (async () => {
      for (let i = 0; i < sent.length; i += 50) {
        ann.write(`${sent.slice(i, i + 50).join("\n")}\n`);
        await Bun.sleep(10);
      }
      ann.end();
    })();
    await until("some", () => bob.texts().length > 300);
    relay.kill("SIGKILL");
    await relay.exited();
    relay = await RelayProcess.start("--port", String(port), "--rate", "0", "--byte-rate", "0");
    expect(await ann.exited(40_000)).toBe(0);
    await until("the last line", () => bob.texts().includes("line 2999"));
    // A new relay has no log of the old one: what bob had not read of it was acknowledged to ann
    // only if it was in that log, so at most that may be missing, and nothing comes twice.
    const got = bob.texts();
    expect(new Set(got).size).toBe(got.length);
    const order = got.map((text) => Number(text.split(" ")[1]));
    expect(order).toEqual([...order].sort((a, b) => a - b));
    const acknowledgedBefore = sent.length - got.length;
    expect(acknowledgedBefore).toBeLessThan(200);
  });

  test("connections cut again and again: every line arrives once, in order, and nobody warns", async () => {
    const proxy = new HostileRelay(relay.port);
    const bob = await joined(proxy.port, key, "bob", "--timeout", "60");
    const ann = client(proxy.port, key, "--nick", "ann", "--json", "--timeout", "60");
    programs.push(bob, ann);
    const sent = lines(2000);
    void (async () => {
      for (let i = 0; i < sent.length; i += 20) {
        ann.write(`${sent.slice(i, i + 20).join("\n")}\n`);
        await Bun.sleep(30);
      }
      ann.end();
    })();
    // Each break is followed by a try, and not each is told: a second one may be no news.
    const breaks = () => bob.events().filter((e) => e.event === "connecting").length - 1;
    for (let cuts = 0; cuts < 4; cuts++) {
      const [lineCount, breakCount] = [bob.texts().length, breaks()];
      await until("more lines", () => bob.texts().length > lineCount);
      proxy.cut();
      await until("the break", () => breaks() > breakCount);
    }
    expect(await ann.exited(40_000)).toBe(0);
    await until("all", () => bob.texts().length >= 2000);
    await Bun.sleep(200);
    expect(bob.texts()).toEqual(sent);
    expect(bob.events().filter((e) => e.event === "warning")).toEqual([]);
    expect(breaks()).toBe(4);
    expect(new Set(ann.events().flatMap((e) => e.numbers ?? [])).size).toBe(2000);
    proxy.stop();
  });

  test("a relay whose disk is full is tried ever less often, said once, and given up in time: 75", async () => {
    const proxy = new HostileRelay(relay.port);
    const full = fullDisk(proxy);
    const ann = client(proxy.port, key, "--nick", "ann", "--timeout", "4");
    programs.push(ann);
    ann.end("hello\n");
    expect(await ann.exited()).toBe(75);
    const port = proxy.port;
    const said = ann.stderr.replace(/in \d\.\d s/, "in a while").split("\n");
    expect(said.slice(1)).toEqual([
      "chat-client: connected",
      "chat-client: not connected: no room on the disk; trying again in a while",
      `chat-client: nothing was accepted by 127.0.0.1 port ${port}: no room on the disk`,
      "chat-client: 1 messages were not delivered",
      "",
    ]);
    // After 0.3, 0.6, 1.2 s and what is left, each a quarter more or less; every 0.3 s it were 14.
    expect(full.welcomes).toBeGreaterThan(2);
    expect(full.welcomes).toBeLessThan(8);
    proxy.stop();
  });

  test("a relay that lets in and takes nothing is given up in time, though the connection stays: 75", async () => {
    const proxy = new HostileRelay(relay.port);
    proxy.tamper = (type, body) => (type === FrameType.ENTRY ? [] : [encodeFrame(type, body)]);
    const ann = client(proxy.port, key, "--nick", "ann", "--timeout", "2");
    programs.push(ann);
    ann.end("hello\n");
    expect(await ann.exited()).toBe(75);
    expect(ann.stderr).toContain("nothing was accepted by 127.0.0.1 port");
    proxy.stop();
  });

  test("a relay that takes the join and no message is tried ever less often, and given up in time", async () => {
    const proxy = new HostileRelay(relay.port);
    let joins = 0;
    let isIn = false;
    proxy.tamper = (type, body) => {
      if (type === FrameType.WELCOME) {
        joins += 1;
        isIn = false;
      } else if (type === FrameType.ENTRY && body.length > 400) {
        return isIn ? [encodeRemark(FrameType.CLOSE, "storage", "no room on the disk")] : [];
      } else if (type === FrameType.ENTRY) isIn = true;
      return [encodeFrame(type, body)];
    };
    const ann = client(proxy.port, key, "--nick", "ann", "--timeout", "4");
    programs.push(ann);
    // Long enough to be told from the join.
    ann.end(`${"hello ".repeat(100)}\n`);
    expect(await ann.exited()).toBe(75);
    expect(joins).toBeLessThan(8);
    expect(ann.stderr.match(/not connected/g)?.length).toBe(1);
    proxy.stop();
  });

  test("once it has room again, that is said once, and what waited arrives", async () => {
    const proxy = new HostileRelay(relay.port);
    const { tamper } = proxy;
    const full = fullDisk(proxy);
    const ann = client(proxy.port, key, "--nick", "ann", "--json", "--timeout", "60");
    programs.push(ann);
    ann.end("hello\n");
    await until("a third try", () => full.welcomes > 2);
    const connections = () =>
      ann.events().filter(({ event }) => event === "connected" || event === "disconnected");
    expect(connections().map(({ event }) => event)).toEqual(["connected", "disconnected"]);
    proxy.tamper = tamper;
    expect(await ann.exited()).toBe(0);
    expect(connections().map(({ event }) => event)).toEqual([
      "connected",
      "disconnected",
      "connected",
    ]);
    expect(ann.event("delivered")?.numbers).toEqual([1]);
    proxy.stop();
  });

  test("with nothing to send a relay whose disk is full is not given up: it may be read", async () => {
    const proxy = new HostileRelay(relay.port);
    const full = fullDisk(proxy);
    const bob = client(proxy.port, key, "--nick", "bob", "--listen", "--json", "--timeout", "1");
    programs.push(bob);
    await until("tries for longer than its patience", () => full.welcomes > 4);
    expect(bob.process.exitCode).toBe(null);
    proxy.stop();
    expect(await bob.exited()).toBe(69);
  });

  test("a new log is told of to who has read something of the former one", async () => {
    const { port } = relay;
    const proxy = new HostileRelay(port);
    const { tamper } = proxy;
    proxy.tamper = (type, body) => (type === FrameType.ENTRY ? [] : [encodeFrame(type, body)]);
    const flags = ["--listen", "--json", "--timeout", "60"];
    const reader = await listener("reader", ...flags);
    const other = client(proxy.port, key, "--nick", "other", ...flags);
    programs.push(other);
    await until("other", () => other.event("connected"));
    await relay.stop();
    relay = await RelayProcess.start("--port", String(port));
    proxy.tamper = tamper;
    for (const [program, newLog] of [
      [reader, true],
      [other, false],
    ] as const) {
      const again = () => program.events().filter(({ event }) => event === "connected")[1];
      await until("its return", again);
      expect(again()).toMatchObject({ again: true, newLog });
    }
    proxy.stop();
  });

  test("without a relay it gives up after --timeout: 69, or 75 with something undelivered", async () => {
    const nothing = client(1, key, "--timeout", "0");
    nothing.end("");
    expect(await nothing.exited()).toBe(69);
    expect(nothing.stderr).toContain("nothing listens there (is chat-server running?)");
    const something = client(1, key, "--timeout", "1");
    something.end("hello\n");
    expect(await something.exited()).toBe(75);
    expect(something.stderr).toContain("1 messages were not delivered");
  });

  test("a relay that is full is waited for, with its own words", async () => {
    const full = await RelayProcess.start("--max-connections", "1");
    const first = await joined(full.port, key, "first");
    const second = client(full.port, key, "--json", "--timeout", "20");
    programs.push(first, second);
    second.write("hello\n");
    await until("the reason", () => second.stdout.includes("1 connections are in use"));
    first.kill("SIGKILL");
    second.end();
    expect(await second.exited()).toBe(0);
    await full.stop();
  });

  test("an unknown host is 68", async () => {
    const lost = new Program([CLIENT, "no.such.host.invalid", "--key-file", key, "--timeout", "0"]);
    lost.end("");
    expect(await lost.exited()).toBe(68);
  });
});

describe("keys", () => {
  const config = join(scratch.path, "config");
  const env = { XDG_CONFIG_HOME: config };
  const run = async (words: string[], stdin = "", more: Record<string, string> = env) => {
    const program = new Program([CLIENT, ...words], more);
    program.end(stdin);
    const code = await program.exited();
    return { code, out: program.stdout, err: program.stderr };
  };

  test("keygen makes a 0600 file with 32 random bytes and never overwrites it", async () => {
    const path = join(config, "virtio-cryptodev-chat/room.key");
    const made = await run(["keygen"]);
    expect([made.code, made.out]).toEqual([0, `${path}\n`]);
    expect(statSync(path).mode & 0o777).toBe(0o600);
    const before = readFileSync(path, "utf8");
    expect(before).toMatch(/^[0-9a-f]{64}\n$/);
    const again = await run(["keygen"]);
    expect(again.code).toBe(73);
    expect(again.err).toContain("exists already and is not overwritten");
    expect(readFileSync(path, "utf8")).toBe(before);
    const other = await run(["keygen", "--key-file", join(scratch.path, "second.key")]);
    expect(other.code).toBe(0);
    expect(readFileSync(join(scratch.path, "second.key"), "utf8")).not.toBe(before);
  });

  test("an invite carries relay, room and key to another person", async () => {
    const invite = await run(["invite", "chat.example.org:4000", "--room", "book club"]);
    expect(invite.code).toBe(0);
    expect(invite.out).toMatch(/^vcc-invite-1\.[\w-]+\.[\w-]+\n$/);
    const second = { XDG_CONFIG_HOME: join(scratch.path, "second-person") };
    const accepted = await run(["accept"], invite.out, second);
    expect([accepted.code, accepted.out]).toEqual([
      0,
      "chat-client chat.example.org:4000 --room 'book club'\n",
    ]);
    const withTls = await run(["invite", "chat.example.org", "--tls"]);
    const third = { XDG_CONFIG_HOME: join(scratch.path, "third-person") };
    const acceptedTls = await run(["accept"], withTls.out, third);
    expect(acceptedTls.out).toBe("chat-client chat.example.org:35001 --tls\n");
    const mine = await run(["fingerprint"]);
    const theirs = await run(["fingerprint"], "", second);
    expect(mine.out).toMatch(/^\d{5}( \d{5}){4}\n$/);
    expect(theirs.out).toBe(mine.out);
    expect(invite.err).toContain(mine.out.trim());
    expect((await run(["accept"], "vcc-invite-1.x.y", second)).code).toBe(65);
    expect((await run(["accept"], invite.out, second)).code).toBe(73);
  });

  test("a missing, a readable and a broken key file are told apart", async () => {
    const missing = await run(["fingerprint", "--key-file", join(scratch.path, "none")]);
    expect(missing.code).toBe(66);
    expect(missing.err).toContain("chat-client keygen");
    const open = scratch.key("open.key");
    chmodSync(open, 0o644);
    const readable = await run(["fingerprint", "--key-file", open]);
    expect(readable.code).toBe(77);
    expect(readable.err).toContain(`chmod 600 ${open}`);
    const broken = join(scratch.path, "broken.key");
    writeFileSync(broken, "12345\n", { mode: 0o600 });
    expect((await run(["fingerprint", "--key-file", broken])).code).toBe(65);
  });

  test("a passphrase from a descriptor gives the room's key; the room is part of it", async () => {
    const withPass = (pass: string, room: string) =>
      run(["fingerprint", "--passphrase-fd", "0", "--room", room], `${pass}\n`);
    const one = await withPass("correct horse battery", "club");
    expect(one.code).toBe(0);
    expect((await withPass("correct horse battery", "club")).out).toBe(one.out);
    expect((await withPass("correct horse battery", "pub")).out).not.toBe(one.out);
    expect((await withPass("", "club")).code).toBe(65);
    expect((await run(["fingerprint", "--passphrase"])).code).toBe(64);
  });
});

describe("the command line", () => {
  const run = (...words: string[]) => {
    const { exitCode, stdout, stderr } = Bun.spawnSync([CLIENT, ...words], { stdin: "ignore" });
    return { exitCode, stdout: stdout.toString(), stderr: stderr.toString() };
  };

  test("--help has examples, --version a version, both without colours in a pipe", () => {
    const help = run("--help");
    expect(help.exitCode).toBe(0);
    expect(help.stdout).toContain("EXAMPLES");
    for (const word of ["keygen", "invite", "accept", "fingerprint", "--crypto"])
      expect(help.stdout).toContain(word);
    expect(help.stdout).not.toContain("\u001b");
    expect(run("keygen", "--help").stdout).toContain("--key-file");
    expect(run("--version").stdout).toMatch(/^chat-client \d+\.\d+\.\d+\n$/);
  });

  const wrong: [string[], string][] = [
    [["--bogus"], "there is no option --bogus"],
    [["one", "two"], 'what is "two" for?'],
    [["host:99999"], "no HOST or HOST:PORT"],
    [["a:b:c", "--nick", "x"], "no HOST or HOST:PORT"],
    [["--nick", ""], "--nick"],
    [["--nick", "a\u001b[2Jb"], "control characters"],
    [["--nick", "n".repeat(65)], "at most 64 bytes"],
    [["--room", "r".repeat(256)], "1 to 255 bytes"],
    [["--history", "-1"], "--history takes a whole number"],
    [["--timeout", "soon"], "--timeout takes a whole number"],
    [["--passphrase-fd", "x"], "--passphrase-fd takes a whole number"],
  ];
  for (const [words, message] of wrong) {
    test(`refuses ${JSON.stringify(words).slice(0, 60)} with 64 and a hint`, () => {
      const { exitCode, stdout, stderr } = run(...words);
      expect([exitCode, stdout]).toEqual([64, ""]);
      expect(stderr).toContain(message);
    });
  }

  test("keys and passphrases can't be given as arguments", () => {
    for (const option of ["--key", "--password"]) expect(run(option, "secret").exitCode).toBe(64);
    expect(run("--passphrase=secret").exitCode).not.toBe(0);
    expect(existsSync(key)).toBe(true);
  });
});
