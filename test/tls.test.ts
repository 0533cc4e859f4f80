/** TLS between clients and relay, and relays that let in only who has their access key. */
import {
  afterAll,
  afterEach,
  beforeAll,
  describe,
  expect,
  setDefaultTimeout,
  test,
} from "bun:test";
import { copyFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { client, type Program, RelayProcess, Scratch, SERVER, until } from "./support/programs.ts";
import { hello, RawClient, ROOM } from "./support/raw-client.ts";

setDefaultTimeout(60_000);

const scratch = new Scratch();
const file = (name: string) => join(scratch.path, name);
const key = scratch.key();
const running: Program[] = [];

function openssl(...words: string[]): void {
  const { exitCode, stderr } = Bun.spawnSync(["openssl", ...words]);
  if (exitCode !== 0) throw new Error(stderr.toString());
}

const NEW_KEY = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];

/** Makes `name`.pem and `name`.key, signed by ca.pem. */
function certificate(name: string, names: string, days = "30"): void {
  const request = ["-keyout", file(`${name}.key`), "-out", file(`${name}.csr`)];
  openssl("req", ...NEW_KEY, ...request, "-subj", `/CN=${name}`);
  writeFileSync(file("ext"), `subjectAltName=${names}\n`);
  openssl(
    ...["x509", "-req", "-in", file(`${name}.csr`), "-out", file(`${name}.pem`), "-days", days],
    ...["-CA", file("ca.pem"), "-CAkey", file("ca.key"), "-CAcreateserial"],
    ...["-extfile", file("ext")],
  );
}

beforeAll(() => {
  const ca = ["-keyout", file("ca.key"), "-out", file("ca.pem"), "-days", "30", "-subj", "/CN=ca"];
  openssl("req", "-x509", ...NEW_KEY, ...ca);
  certificate("good", "DNS:localhost,IP:127.0.0.1");
  certificate("second", "DNS:localhost,IP:127.0.0.1");
  certificate("other", "DNS:example.org");
});

afterEach(async () => {
  for (const program of running.splice(0)) {
    program.kill("SIGKILL");
    await program.process.exited;
  }
});

afterAll(() => scratch.remove());

async function relay(...flags: string[]): Promise<RelayProcess> {
  const started = await RelayProcess.start(...flags);
  running.push(started);
  return started;
}

const tlsFlags = (name: string) => [
  "--tls-cert",
  file(`${name}.pem`),
  "--tls-key",
  file(`${name}.key`),
];

/** A client that runs until it ends by itself, having said `text`. */
async function says(port: number, text: string, ...flags: string[]) {
  const program = client(port, key, "--timeout", "3", ...flags);
  program.end(`${text}\n`);
  const code = await program.exited();
  return { code, stderr: program.stderr };
}

async function listens(port: number, ...flags: string[]): Promise<Program> {
  const program = client(port, key, "--json", "--listen", "--nick", "bob", ...flags);
  running.push(program);
  await until("bob to join", () => program.events().some((e) => e.event === "join" && e.own));
  return program;
}

describe("TLS", () => {
  test("carries a chat, also what is larger than any buffer", async () => {
    const { port, stdout } = await relay(...tlsFlags("good"), "--rate", "0", "--byte-rate", "0");
    expect(stdout).toContain("speaking TLS");
    const bob = await listens(port, "--tls-ca", file("ca.pem"));
    const texts = Array.from({ length: 300 }, (_, i) => `${i} ${"x".repeat(8000)}`);
    const ann = client(port, key, "--tls-ca", file("ca.pem"));
    ann.end(`${texts.join("\n")}\n`);
    expect(await ann.exited(40_000)).toBe(0);
    await until("all messages", () => bob.texts().length === texts.length);
    expect(bob.texts()).toEqual(texts);
  });

  test("is not begun with a relay that can't be trusted, and nothing is sent to it", async () => {
    const other = await relay(...tlsFlags("other"));
    const wrongName = await says(other.port, "secret", "--tls-ca", file("ca.pem"));
    expect(wrongName.code).toBe(76);
    expect(wrongName.stderr).toContain("its certificate is for another name");
    const good = await relay(...tlsFlags("good"));
    const unknownIssuer = await says(good.port, "secret", "--tls");
    expect(unknownIssuer.code).toBe(76);
    expect(unknownIssuer.stderr).toContain("name its issuer's certificate with --tls-ca");
    for (const { stdout } of [other, good]) expect(stdout).not.toContain("joined");
  });

  test("and none do not understand each other, and both are told", async () => {
    const tls = await relay(...tlsFlags("good"));
    const plain = await says(tls.port, "x");
    expect(plain.code).toBe(75);
    expect(plain.stderr).toContain("the relay speaks TLS (use --tls)");
    const without = await relay();
    const wanted = await says(without.port, "x", "--tls-ca", file("ca.pem"));
    expect(wanted.code).toBe(75);
    expect(wanted.stderr).toContain("speaks no TLS there");
  });

  test("certificates are changed under clients that stay", async () => {
    for (const end of ["pem", "key"]) copyFileSync(file(`good.${end}`), file(`live.${end}`));
    const changing = await relay(...tlsFlags("live"));
    const serial = () => {
      const shown = Bun.spawnSync(
        ["openssl", "s_client", "-connect", `127.0.0.1:${changing.port}`],
        {
          stdin: new Blob([""]),
        },
      );
      return shown.stdout.toString().match(/subject=.*/)?.[0];
    };
    expect(serial()).toContain("CN = good");
    const bob = await listens(changing.port, "--tls-ca", file("ca.pem"));
    copyFileSync(file("second.pem"), file("live.pem"));
    // Only half of the new pair is there: the old one stays.
    changing.kill("SIGHUP");
    await until("a refusal", () => changing.stdout.includes("not reloaded"));
    expect(serial()).toContain("CN = good");
    copyFileSync(file("second.key"), file("live.key"));
    changing.kill("SIGHUP");
    await until("the reload", () => / reloaded\n/.test(changing.stdout));
    expect(serial()).toContain("CN = second");
    expect((await says(changing.port, "after", "--tls-ca", file("ca.pem"))).code).toBe(0);
    await until("bob to hear it", () => bob.texts().includes("after"));
    expect(bob.events().some((event) => event.event === "disconnected")).toBe(false);
  });

  test("files that are no certificate and key are refused with their names", () => {
    for (const [flags, message] of [
      [["--tls-cert", file("good.pem")], "--tls-cert and --tls-key go together"],
      [["--tls-cert", file("none"), "--tls-key", file("good.key")], `can't read ${file("none")}`],
      [
        ["--tls-cert", file("good.pem"), "--tls-key", file("other.key")],
        "no certificate and its key",
      ],
    ] as const) {
      const { exitCode, stderr } = Bun.spawnSync([SERVER, "--port", "0", ...flags]);
      expect([64, 66]).toContain(exitCode);
      expect(stderr.toString()).toContain(message);
    }
  });
});

describe("an access key", () => {
  test("lets in who has it, and nobody else", async () => {
    const access = scratch.key("access.key");
    const { port } = await relay("--access-file", access);
    const without = await says(port, "x");
    expect(without.code).toBe(76);
    expect(without.stderr).toContain("not open to everybody");
    const wrong = await says(port, "x", "--access-file", scratch.key("wrong.key"));
    expect(wrong.code).toBe(76);
    expect(wrong.stderr).toContain("not this relay's");
    const bob = await listens(port, "--access-file", access);
    expect((await says(port, "let in", "--access-file", access)).code).toBe(0);
    await until("the message", () => bob.texts().includes("let in"));
  });

  test("is good in one room only as it is shown, and for those of before the key", async () => {
    const { port } = await relay("--access-file", scratch.key("raw.key", "ab".repeat(32)));
    const shown = await RawClient.connect(port);
    shown.write(hello({ room: ROOM }));
    await until("a refusal", () => shown.closeRemark);
    expect(shown.closeRemark?.code).toBe(13);
  });

  test("is not shown to a network that could read it", () => {
    const access = scratch.key("net.key");
    const { exitCode, stderr } = Bun.spawnSync([
      join(SERVER, "../chat-client"),
      "relay.example.org",
      "--key-file",
      key,
      "--access-file",
      access,
    ]);
    expect(exitCode).toBe(64);
    expect(stderr.toString()).toContain("--access-file needs --tls");
  });
});
