/** What those need who run a relay: metrics, health, logs for programs, limits that change, an install. */
import { afterAll, afterEach, describe, expect, setDefaultTimeout, test } from "bun:test";
import { existsSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { join } from "node:path";
import { ROOT } from "../src/setup/build.ts";
import { RelayProcess, Scratch, SERVER, until } from "./support/programs.ts";
import { hello, RawClient } from "./support/raw-client.ts";

setDefaultTimeout(60_000);

const scratch = new Scratch();
const relays: RelayProcess[] = [];

async function relay(...flags: string[]): Promise<RelayProcess> {
  const started = await RelayProcess.start(...flags);
  relays.push(started);
  return started;
}

afterEach(async () => {
  for (const started of relays.splice(0)) {
    expect(await started.stop()).toBe(0);
    expect(started.stderr).toBe("");
  }
});

afterAll(() => scratch.remove());

/** Where a relay serves its metrics. */
async function metricsPort(started: RelayProcess): Promise<number> {
  const match = await until("the metrics", () =>
    started.stdout.match(/metrics at http:\S+:(\d+)\//),
  );
  return Number(match[1]);
}

async function get(port: number, path: string): Promise<{ status: number; text: string }> {
  const response = await fetch(`http://127.0.0.1:${port}${path}`);
  return { status: response.status, text: await response.text() };
}

/** The value of a line of the exposition. */
async function value(port: number, name: string): Promise<number> {
  const { text } = await get(port, "/metrics");
  const line = text.split("\n").find((each) => each.startsWith(`${name} `));
  return Number(line?.slice(name.length + 1));
}

describe("metrics", () => {
  test("count what happens, in Prometheus's format", async () => {
    const data = join(scratch.path, "metrics");
    const started = await relay("--metrics-port", "0", "--data", data, "--max-per-address", "2");
    const port = await metricsPort(started);
    const [ann, bob] = [await RawClient.join(started.port), await RawClient.join(started.port)];
    for (let i = 0; i < 10; i++) ann.send("x".repeat(100));
    await until("10 entries", () => ann.entries.length === 10 && bob.entries.length === 10);
    const third = await RawClient.connect(started.port);
    await until("a refusal", () => third.closeRemark);
    expect(await value(port, "chat_connections")).toBe(2);
    expect(await value(port, "chat_connections_total")).toBe(2);
    expect(await value(port, "chat_rooms")).toBe(1);
    expect(await value(port, "chat_rooms_kept")).toBe(1);
    expect(await value(port, "chat_entries_total")).toBe(10);
    expect(await value(port, "chat_received_bytes_total")).toBeGreaterThan(1000);
    expect(await value(port, "chat_sent_bytes_total")).toBeGreaterThan(2000);
    expect(await value(port, "chat_commits_total")).toBeGreaterThan(0);
    expect(await value(port, 'chat_refusals_total{code="address-full"}')).toBe(1);
    expect(await value(port, 'chat_limit{name="maxPerAddress"}')).toBe(2);
    const { text } = await get(port, "/metrics");
    // Every line is a comment or a sample, and every sample's name has been declared.
    const declared = new Set(
      [...text.matchAll(/^# TYPE (\w+) (?:counter|gauge)$/gm)].map((m) => m[1]),
    );
    for (const line of text.trim().split("\n")) {
      if (line.startsWith("# ")) continue;
      const name = line.match(/^(\w+)(?:\{\w+="[\w-]+"\})? -?[\d.e+]+$/)?.[1];
      expect(declared.has(name)).toBe(true);
    }
  });

  test("and health are on a port of their own, and say when the relay stops", async () => {
    const unlimited = ["--ring-bytes", "16M", "--rate", "0", "--byte-rate", "0"];
    const started = await relay("--metrics-port", "0", ...unlimited);
    const port = await metricsPort(started);
    expect(await get(port, "/healthz")).toEqual({ status: 200, text: "ok\n" });
    expect((await get(port, "/")).status).toBe(404);
    // A client that has not taken all that there is for it is waited for.
    const slow = connect({ port: started.port, host: "127.0.0.1" });
    slow.pause();
    slow.write(hello());
    const ann = await RawClient.join(started.port);
    for (let i = 0; i < 240; i++) {
      ann.send("x".repeat(50_000));
      await until("what was sent", () => ann.entries.length === i + 1);
    }
    started.kill();
    await until("the end of listening", () => started.stdout.includes("closing 2 connections"));
    expect(await get(port, "/healthz")).toEqual({ status: 503, text: "stopping\n" });
    slow.destroy();
  });
});

test("a relay that can't have all that it was told to have does not run without", async () => {
  const other = await relay("--metrics-port", "0");
  const taken = String(await metricsPort(other));
  const flags = ["--host", "127.0.0.1", "--port", "0", "--metrics-port", taken];
  const { exitCode, stderr } = Bun.spawnSync([SERVER, ...flags], { timeout: 10_000 });
  expect(exitCode).toBe(69);
  expect(stderr.toString()).toContain(`can't listen on 127.0.0.1 port ${taken} (EADDRINUSE)`);
});

describe("the log", () => {
  test("is one JSON object a line, with what programs look for", async () => {
    const started = await RelayProcess.start("--log-format", "json", "--max-frame", "1024");
    const client = await RawClient.join(started.port);
    client.send("x".repeat(2000));
    await until("the refusal", () => client.closed);
    expect(await started.stop()).toBe(0);
    const entries = started.stdout
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line) as Record<string, unknown>);
    for (const entry of entries) {
      expect(Number.isNaN(Date.parse(String(entry.time)))).toBe(false);
      expect(["info", "warn", "error"]).toContain(String(entry.level));
    }
    const events = entries.map((entry) => entry.event).filter(Boolean);
    expect(events).toEqual(["connected", "joined", "refused", "disconnected"]);
    expect(entries.find((entry) => entry.event === "refused")?.code).toBe("too-large");
  });
});

describe("limits", () => {
  test("in a file take the place of the command line's, and are read again on SIGHUP", async () => {
    const file = join(scratch.path, "limits");
    writeFileSync(file, "# for a test\nmax-per-address 1\n\nrate 50\n");
    const started = await relay("--limits-file", file, "--metrics-port", "0", "--rate", "7");
    const port = await metricsPort(started);
    expect(await value(port, 'chat_limit{name="rate"}')).toBe(50);
    const first = await RawClient.join(started.port);
    const second = await RawClient.connect(started.port);
    await until("a refusal", () => second.closeRemark);
    writeFileSync(file, "max-per-address 2\n");
    started.kill("SIGHUP");
    await until("the reload", () => started.stdout.includes("reloaded"));
    expect(await value(port, 'chat_limit{name="rate"}')).toBe(7);
    const third = await RawClient.join(started.port);
    expect(third.welcomed).toBeDefined();
    // What is no good changes nothing.
    writeFileSync(file, "max-per-address 3\nrats 1\n");
    started.kill("SIGHUP");
    await until("the refusal", () => started.stdout.includes("not reloaded"));
    expect(started.stdout).toContain(`${file}, line 2: not "OPTION VALUE"`);
    expect(await value(port, 'chat_limit{name="maxPerAddress"}')).toBe(2);
    expect(first.closed).toBe(false);
  });

  test("in a file are checked at the start as those of the command line are", () => {
    const file = join(scratch.path, "bad-limits");
    for (const [text, code, message] of [
      ["rate -1\n", 64, "--rate takes a whole number"],
      ["port 1\n", 65, 'line 1: not "OPTION VALUE"'],
      ["ring-bytes 4096\n", 64, "--ring-bytes must be at least 4 times --max-frame"],
    ] as const) {
      writeFileSync(file, text);
      const { exitCode, stderr } = Bun.spawnSync([SERVER, "--limits-file", file, "--port", "0"]);
      expect(exitCode).toBe(code);
      expect(stderr.toString()).toContain(message);
    }
  });
});

test("the install target puts programs, unit and settings where packages have them", () => {
  const root = join(scratch.path, "root");
  const install = () =>
    Bun.spawnSync(["sh", join(ROOT, "src/setup/install.sh")], {
      env: { ...process.env, DESTDIR: root, PREFIX: "/usr" },
    });
  expect(install().exitCode).toBe(0);
  for (const program of ["chat-server", "chat-client"]) {
    expect(statSync(join(root, "usr/bin", program)).mode & 0o777).toBe(0o755);
  }
  expect(existsSync(join(root, "usr/share/doc/chat-server/operations.md"))).toBe(true);
  const unit = readFileSync(join(root, "lib/systemd/system/chat-server.service"), "utf8");
  expect(unit).toMatch(/^ExecStart=\/usr\/bin\/chat-server --data \$\{STATE_DIRECTORY\} /m);
  expect(unit).not.toContain("@PREFIX@");
  // The unit names a program that lies in the install's own tree.
  const verify = Bun.spawnSync([
    "systemd-analyze",
    "verify",
    `--root=${root}`,
    "chat-server.service",
  ]);
  expect(verify.stderr.toString()).not.toMatch(/chat-server\.service:\d+: /);
  const settings = join(root, "etc/default/chat-server");
  writeFileSync(settings, "mine\n");
  expect(install().exitCode).toBe(0);
  expect(readFileSync(settings, "utf8")).toBe("mine\n");
});

test("a relay that is restarted under its clients loses nothing and repeats nothing", async () => {
  const data = join(scratch.path, "restart");
  const first = await RelayProcess.start("--data", data, "--rate", "0");
  const port = String(first.port);
  const ann = await RawClient.join(first.port);
  for (let i = 0; i < 50; i++) ann.send(`m${i}`);
  await until("50 entries", () => ann.entries.length === 50);
  expect(await first.stop()).toBe(0);
  expect(ann.closeRemark?.code).toBe(10);
  const second = await relay("--data", data, "--rate", "0", "--port", port);
  const logId = ann.welcomed?.logId as Uint8Array;
  const back = await RawClient.join(second.port, { start: { kind: "after", logId, seq: 50 } });
  expect(back.welcomed?.newLog).toBe(false);
  back.send("after");
  await until("the next", () => back.entries.length === 1);
  expect(back.texts).toEqual(["after"]);
});
