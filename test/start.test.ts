/** npm start, as the README has it. */
import { afterAll, expect, setDefaultTimeout, test } from "bun:test";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { ROOT } from "../src/setup/build.ts";
import { Program, Scratch } from "./support/programs.ts";
import { Terminal } from "./support/tmux.ts";

setDefaultTimeout(60_000);

const scratch = new Scratch();
afterAll(() => scratch.remove());

test("without a terminal it is a conversation between two clients, and its result the exit code", async () => {
  const config = join(scratch.path, "config");
  const start = new Program(["npm", "--prefix", ROOT, "start"], { XDG_CONFIG_HOME: config });
  start.end();
  expect(await start.exited(60_000)).toBe(0);
  expect(start.stdout).toContain("bob hears ann: Hello Bob, can you read this?");
  expect(start.stdout).toContain("Everything that ann sent, bob heard.");
  expect(existsSync(join(config, "virtio-cryptodev-chat/room.key"))).toBe(true);
});

test("on a terminal it puts you into a room, and a second terminal joins with no arguments", async () => {
  const env = `XDG_CONFIG_HOME=${join(scratch.path, "config")}`;
  const first = new Terminal(`env ${env} USER=ann npm --prefix ${ROOT} start`, 100);
  await first.sees(/^A second terminal joins with: \S+chat-client$/);
  const joinCommand = first
    .screen()
    .find((l) => l.startsWith("A second terminal"))
    ?.split(": ")[1];
  await first.sees("you are in the room as ann");
  const second = new Terminal(`env ${env} USER=bob ${joinCommand}`, 100);
  await second.sees("you are in the room as bob");
  second.type("here I am");
  second.press("Enter");
  await first.sees("bob: here I am");
  first.press("C-d");
  expect(await first.exitCode()).toBe(0);
  second.kill();
  first.kill();
});
