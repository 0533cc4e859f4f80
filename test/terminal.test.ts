/** The client as a person meets it, in a real terminal. */
import { afterAll, afterEach, beforeEach, expect, setDefaultTimeout, test } from "bun:test";
import { CLIENT, joined, type Program, RelayProcess, Scratch, until } from "./support/programs.ts";
import { Terminal } from "./support/tmux.ts";

setDefaultTimeout(60_000);

const scratch = new Scratch();
const key = scratch.key();
let relay: RelayProcess;
let bob: Program;
const terminals: Terminal[] = [];

beforeEach(async () => {
  relay = await RelayProcess.start();
  bob = await joined(relay.port, key, "bob");
});

afterEach(async () => {
  for (const terminal of terminals.splice(0)) terminal.kill();
  bob.kill("SIGKILL");
  await relay.stop();
});

afterAll(() => scratch.remove());

function terminal(command: string, columns?: number, rows?: number): Terminal {
  const started = new Terminal(command, columns, rows);
  terminals.push(started);
  return started;
}

const command = (nick: string, ...more: string[]) =>
  [CLIENT, `127.0.0.1:${relay.port}`, "--key-file", key, "--nick", nick, ...more].join(" ");

async function ann(columns?: number, rows?: number): Promise<Terminal> {
  const started = terminal(command("ann"), columns, rows);
  await started.sees("you are in the room as ann");
  return started;
}

test("what is typed is sent, shown once with its time, and the prompt stays at the bottom", async () => {
  const screen = await ann();
  expect(await screen.sees("encryption: software (node:crypto)")).toBeTruthy();
  await screen.sees("-- bob is here");
  screen.type("hello bob");
  screen.press("Enter");
  await screen.sees(/^\d\d:\d\d ann: hello bob$/);
  expect(screen.screen().filter((line) => line.includes("hello bob")).length).toBe(1);
  expect(screen.screen().at(-1)).toBe("ann>");
  await until("bob to hear it", () => bob.texts().includes("hello bob"));
});

test("a message that comes while one types goes above; the typed line stays, wrapped or not", async () => {
  const screen = await ann(40, 12);
  const long = "a line that is longer than this terminal is wide, and not sent yet";
  screen.type(long);
  await screen.sees("sent yet");
  bob.write("from bob\n");
  await screen.sees("bob: from bob");
  const lines = screen.screen();
  expect(lines.findIndex((l) => l.includes("bob: from bob"))).toBeLessThan(
    lines.findIndex((l) => l.startsWith("ann> a line")),
  );
  expect(
    lines
      .slice(lines.findIndex((l) => l.startsWith("ann> ")))
      .join("")
      .replaceAll(" ", ""),
  ).toBe(`ann>${long}`.replaceAll(" ", ""));
  screen.press("Enter");
  await until("bob to hear it", () => bob.texts().includes(long));
  await screen.sees(/ann: a line that is/);
  expect(screen.screen().join("").split("not sent yet").length).toBe(2);
});

test("a line that fills the terminal's width exactly leaves no trace behind", async () => {
  const screen = await ann(40, 12);
  const exact = "q".repeat(40 - "ann> ".length);
  screen.type(exact);
  screen.press("Enter");
  await until("bob to hear it", () => bob.texts().includes(exact));
  await screen.sees(/^\d\d:\d\d ann: q+$/);
  bob.write("next\n");
  await screen.sees("bob: next");
  expect(screen.screen().join("").match(/q/g)?.length).toBe(exact.length);
});

test("keys edit: history, moving, deleting, wide characters", async () => {
  const screen = await ann();
  screen.type("first");
  screen.press("Enter");
  await screen.sees("ann: first");
  screen.press("Up");
  screen.type("!");
  screen.press("C-a");
  screen.type(">> ");
  screen.press("C-e", "BSpace", "Enter");
  await screen.sees("ann: >> first");
  screen.type("日本語x");
  screen.press("BSpace", "Left", "BSpace", "Enter");
  await until("bob to hear it", () => bob.texts().includes("日語"));
});

test("/who, /me, /nick, /help, // and an unknown command", async () => {
  const screen = await ann();
  await screen.sees("bob is here");
  screen.type("/who");
  screen.press("Enter");
  await screen.sees("-- 2 here: ann (you), bob");
  screen.type("/me waves");
  screen.press("Enter");
  await screen.sees(/\* ann waves$/);
  screen.type("/nick anna");
  screen.press("Enter");
  await screen.sees("-- ann is now anna");
  expect(screen.screen().at(-1)).toBe("anna>");
  screen.type("//not a command");
  screen.press("Enter");
  await screen.sees("anna: /not a command");
  screen.type("/frob");
  screen.press("Enter");
  await screen.sees("there is no /frob; /help tells what there is");
  screen.type("/help");
  screen.press("Enter");
  await screen.sees("/quit  leave");
  await until("bob to hear of it", () => bob.event("nick") && bob.event("action"));
  expect(bob.event("nick")).toMatchObject({ nick: "anna" });
  expect(bob.event("action")).toMatchObject({ text: "waves" });
});

test("/quit, Ctrl-D and Ctrl-C on an empty line leave with 0; Ctrl-C on a typed line empties it", async () => {
  const leave: ((screen: Terminal) => void)[] = [
    (screen) => {
      screen.type("/quit");
      screen.press("Enter");
    },
    (screen) => screen.press("C-d"),
    (screen) => screen.press("C-c"),
  ];
  for (const [i, how] of leave.entries()) {
    const screen = await ann();
    screen.type("half");
    await screen.sees("ann> half");
    screen.press("C-c");
    await until("an empty line", () => screen.screen().at(-1) === "ann>");
    how(screen);
    expect(await screen.exitCode()).toBe(0);
    await until(
      "bob to see it",
      () => bob.events().filter((e) => e.event === "leave").length === i + 1,
    );
  }
  expect(bob.texts()).toEqual([]);
});

test("a relay that goes away is said, what is typed meanwhile is sent when it is back", async () => {
  const { port } = relay;
  const screen = await ann();
  await relay.stop();
  await screen.sees("not connected: ");
  screen.type("while it was away");
  screen.press("Enter");
  await screen.sees("not delivered yet, will be sent again: while it was away");
  relay = await RelayProcess.start("--port", String(port));
  await screen.sees("connected again; the relay has begun a new log", 30_000);
  await screen.sees(/ann: while it was away$/);
  await until("bob to hear it", () => bob.texts().includes("while it was away"), 30_000);
  expect(bob.texts().filter((text) => text === "while it was away").length).toBe(1);
});

test("leaving with something undelivered says so: 75", async () => {
  const screen = await ann();
  relay.kill("SIGKILL");
  await relay.exited();
  await screen.sees("not connected: ");
  screen.type("lost");
  screen.press("Enter");
  await screen.sees("not delivered yet");
  screen.press("C-d");
  expect(await screen.exitCode()).toBe(75);
  await screen.sees("1 messages were not delivered");
  relay = await RelayProcess.start();
});

test("others' control sequences do nothing to the screen", async () => {
  const screen = await ann();
  bob.write("\u001b[2J\u001b[1;1Hboo\u0007\n");
  await screen.sees("bob: \u241b[2J\u241b[1;1Hboo\u2407");
  await screen.sees("you are in the room as ann");
});

test("names have colours on a terminal, none with NO_COLOR, and TERM=dumb gets plain lines", async () => {
  const coloured = await ann();
  await coloured.sees("bob is here");
  bob.write("hi\n");
  await coloured.sees("bob: hi");
  expect(coloured.coloured()).toContain("\u001b[");
  const plain = terminal(`env NO_COLOR=1 ${command("carl")}`);
  await plain.sees("you are in the room as carl");
  expect(plain.coloured()).not.toContain("\u001b[");
  const dumb = terminal(`env TERM=dumb ${command("dora")}`);
  await dumb.sees("you are in the room as dora");
  dumb.type("from a dumb terminal");
  dumb.press("Enter");
  await until("bob to hear it", () => bob.texts().includes("from a dumb terminal"));
  bob.write("to a dumb terminal\n");
  await dumb.sees("bob: to a dumb terminal");
});

test("a serial console that tells no size and no terminal type but vt100 works", async () => {
  // tmux gives a size; stty takes it away, as a bare serial line has none.
  const screen = terminal(`sh -c 'stty rows 0 cols 0; TERM=vt100 exec ${command("ann")}'`);
  await screen.sees("you are in the room as ann");
  screen.type("over the wire");
  screen.press("Enter");
  await screen.sees("ann: over the wire");
  bob.write("received\n");
  await screen.sees("bob: received");
});

test("a resized terminal goes on", async () => {
  const screen = await ann(80, 24);
  screen.resize(30, 10);
  screen.type("after the resize, a line that wraps");
  screen.press("Enter");
  await until("bob to hear it", () => bob.texts().includes("after the resize, a line that wraps"));
  bob.write("still there?\n");
  await screen.sees("bob: still there?");
});

test("a passphrase is asked for without echo", async () => {
  const screen = terminal(command("ann", "--passphrase").replace(`--key-file ${key}`, ""));
  await screen.sees('Passphrase of room "lobby":');
  screen.type("secretx");
  screen.press("BSpace", "Enter");
  await screen.sees("you are in the room as ann");
  expect(screen.screen().join("\n")).not.toContain("secret");
  screen.type("visible again");
  await screen.sees("ann> visible again");
});

test("/history pages back through what was said before, as far as the relay has it", async () => {
  for (let i = 1; i <= 60; i++) bob.write(`before ${i}\n`);
  await until("all of it", () => bob.texts().length === 60);
  const started = terminal(command("ann", "--history", "0"), 100, 90);
  await started.sees("you are in the room as ann");
  started.type("/history 5");
  started.press("Enter");
  await started.sees(/^-- 5 earlier messages, from entry \d+ on:$/);
  await started.sees(/bob: before 60$/);
  expect(started.screen().filter((line) => /: before \d+$/.test(line)).length).toBe(5);
  started.type("/history 7");
  started.press("Enter");
  await started.sees(/^-- 7 earlier messages/);
  const shown = () => started.screen().flatMap((line) => line.match(/: before (\d+)$/)?.[1] ?? []);
  await until("the second page", () => shown().length === 12);
  // The first page is 56 to 60, the second the seven before them.
  expect(shown().map(Number)).toEqual([56, 57, 58, 59, 60, 49, 50, 51, 52, 53, 54, 55]);
  started.type("/history 1000");
  started.press("Enter");
  await started.sees(/^-- 48 earlier messages, from entry 1 on:$/);
  started.type("/history");
  started.press("Enter");
  await started.sees("no history: there is nothing earlier");
  started.type("/history x");
  started.press("Enter");
  await started.sees("how many? /history N");
  // Nobody was told, and the chat goes on.
  const joins = () => bob.events().filter((event) => event.event === "join" && !event.own).length;
  await until("bob to hear of ann", () => joins() > 0);
  expect(joins()).toBe(1);
  started.type("still here");
  started.press("Enter");
  await until("bob to hear it", () => bob.texts().includes("still here"));
});
