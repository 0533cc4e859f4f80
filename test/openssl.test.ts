/**
 * A program that knows nothing of us: OpenSSL, with its /dev/crypto engine, in a guest of a stock QEMU
 * whose device is virtio-cryptodevd.
 */
import { afterAll, beforeAll, describe, expect } from "bun:test";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { CryptoDaemon } from "./support/crypto-daemon.ts";
import { Scratch, until } from "./support/programs.ts";
import { noVm, vmTest } from "./support/vm.ts";
import { run } from "./vm/assets.ts";
import { Guest } from "./vm/guest.ts";
import { openssl, opensslTool } from "./vm/openssl.ts";

/** What is sent over TLS. */
const TLS_MIB = Number(process.env.VCD_TLS_MIB ?? (process.env.CI ? 100 : 16));
/** OpenSSL is built the first time. */
const SETUP_MS = 1_800_000;
const TLS_MS = 60_000 + TLS_MIB * 5_000;

const CIPHERS = [
  ...["DES-CBC", "DES-EDE3-CBC", "BF-CBC", "AES-128-CBC", "AES-192-CBC", "AES-256-CBC"],
  ...["AES-128-CTR", "AES-192-CTR", "AES-256-CTR", "AES-128-ECB", "AES-192-ECB", "AES-256-ECB"],
  ...["CAMELLIA-128-CBC", "CAMELLIA-192-CBC", "CAMELLIA-256-CBC"],
];
const DIGESTS = ["MD5", "SHA1", "RIPEMD160", "SHA224", "SHA256", "SHA384", "SHA512"];

const PROVIDERS = `
openssl_conf = main
[main]
providers = providers
engines = engines
[providers]
default = active
legacy = active
[active]
activate = 1
`;
const WITHOUT_ENGINE = `${PROVIDERS}
[engines]
`;
const WITH_ENGINE = `${PROVIDERS}
[engines]
devcrypto = devcrypto
[devcrypto]
USE_SOFTDRIVERS = 1
CIPHERS = ALL
DIGESTS = ALL
default_algorithms = ALL
`;
/** Before a command that is to have nothing of the device. */
const PLAIN = "OPENSSL_CONF=/etc/ssl/plain.cnf";

const scratch = new Scratch();
let daemon: CryptoDaemon;
let guest: Guest;

function file(name: string, content: string): string {
  const path = join(scratch.path, name);
  writeFileSync(path, content);
  return path;
}

/** A key and a certificate for the server in the guest. */
function certificate(): Record<string, string> {
  const [key, cert] = ["key.pem", "cert.pem"].map((name) => join(scratch.path, name));
  const config = file("request.cnf", "[req]\ndistinguished_name = name\n[name]\n");
  run([
    ...[openssl(), "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-config", config],
    ...["-subj", "/CN=guest", "-days", "30", "-keyout", `${key}`, "-out", `${cert}`],
  ]);
  return { "etc/ssl/key.pem": `${key}`, "etc/ssl/cert.pem": `${cert}` };
}

beforeAll(async () => {
  if (noVm !== undefined) return;
  const programs = {
    "bin/openssl": openssl(),
    "bin/openssl-compare": opensslTool("openssl-compare"),
    "bin/openssl-fork": opensslTool("openssl-fork"),
    "etc/ssl/openssl.cnf": file("engine.cnf", WITH_ENGINE),
    "etc/ssl/plain.cnf": file("plain.cnf", WITHOUT_ENGINE),
    ...certificate(),
  };
  daemon = await CryptoDaemon.start(scratch, { flags: ["--backend", "libcrypto"] });
  guest = await Guest.boot({ ...daemon.guest, programs });
}, SETUP_MS);

afterAll(async () => {
  const trouble = await guest?.run("dmesg | grep -E 'WARNING|BUG|Oops|leak|Call Trace'");
  await guest?.stop();
  await daemon?.stop();
  scratch.remove();
  expect(trouble?.output ?? "").toBe("");
}, 120_000);

/** What a script prints; it must end well. */
async function output(script: string, milliseconds?: number): Promise<string> {
  const result = await guest.run(script, milliseconds);
  expect(result).toMatchObject({ code: 0 });
  return result.output;
}

/** How many operations the device has done, of one algorithm. */
async function done(algorithm: string): Promise<number> {
  const name = `virtio_cryptodevd_algorithm_operations_total{algorithm="${algorithm}"}`;
  return (await daemon.metrics()).get(name) ?? 0;
}

describe("OpenSSL's engine", () => {
  vmTest("finds every cipher and digest that it knows and the device has", async () => {
    const text = await output("openssl engine -c devcrypto");
    expect(text.match(/\[(.*)\]/)?.[1]?.split(", ")).toEqual([...CIPHERS, ...DIGESTS]);
  });

  vmTest(
    "computes with each what OpenSSL does, at once, in parts, in copies, and back",
    async () => {
      const text = await output("openssl-compare", 240_000);
      const lines = [
        ...CIPHERS.map((name) => `cipher ${name} ok`),
        ...DIGESTS.map((name) => `digest ${name} ok`),
      ];
      expect(text.trimEnd().split("\n")).toEqual(lines);
    },
  );

  vmTest("serves the commands enc and dgst", async () => {
    const key = `-K ${"5a".repeat(32)} -iv ${"a5".repeat(16)}`;
    const before = [await done("aes-cbc"), await done("sha512")] as const;
    // 0, 1 and 100 KiB + 5 bytes
    for (const size of [0, 1, 102_405]) {
      await output(`
        set -e
        head -c ${size} /bin/openssl > /tmp/plain
        openssl enc -aes-256-cbc ${key} -in /tmp/plain -out /tmp/ours
        ${PLAIN} openssl enc -aes-256-cbc ${key} -in /tmp/plain -out /tmp/theirs
        cmp /tmp/ours /tmp/theirs
        openssl enc -d -aes-256-cbc ${key} -in /tmp/theirs | cmp - /tmp/plain
        [ "$(openssl dgst -sha512 -r /tmp/plain)" = "$(${PLAIN} openssl dgst -sha512 -r /tmp/plain)" ]
      `);
    }
    expect(await done("aes-cbc")).toBeGreaterThan(before[0]);
    expect(await done("sha512")).toBeGreaterThan(before[1]);
  });

  vmTest("goes through openssl speed", async () => {
    const before = await done("aes-cbc");
    const text = await output(
      "openssl speed -elapsed -evp aes-256-cbc -engine devcrypto -seconds 1",
    );
    expect(text).toContain('Engine "devcrypto" set.');
    const rates = [...(text.match(/^AES-256-CBC .*$/m)?.[0] ?? "").matchAll(/([\d.]+)k/g)].map(
      ([, rate]) => Number(rate),
    );
    expect(rates).toHaveLength(6);
    // More in a call is more in a second: by far from 16 bytes to 16 KiB.
    expect(rates.at(-1)).toBeGreaterThan((rates[0] as number) * 10);
    expect(await done("aes-cbc")).toBeGreaterThan(before + 100);
  });

  vmTest("has contexts that two processes go on with after a fork", async () => {
    expect(await output("openssl-fork")).toBe("parent 0 child 0\n");
  });
});

describe("TLS through the engine on both sides", () => {
  for (const suite of ["ECDHE-RSA-AES128-SHA256", "AES256-SHA"]) {
    // The second is there for its cipher and MAC.
    const mib = suite === "AES256-SHA" ? 1 : TLS_MIB;
    vmTest(
      `${suite} carries ${mib} MiB`,
      async () => {
        const mac = suite.endsWith("SHA256") ? "sha256" : "sha1";
        const before = [await done("aes-cbc"), await done(mac)] as const;
        const sent = await output(`
          cd /tmp
          dd if=/dev/urandom of=data bs=1M count=${mib} 2>/dev/null
          openssl s_server -WWW -accept 127.0.0.1:4433 -tls1_2 -cipher ${suite} \
            -cert /etc/ssl/cert.pem -key /etc/ssl/key.pem > server.log 2>&1 &
          echo $! > server.pid
          for i in $(seq 100); do grep -q ACCEPT server.log && break; sleep 0.1; done
          sha256sum < data
        `);
        const start = performance.now();
        const received = await output(
          `
          cd /tmp
          printf 'GET /data HTTP/1.0\\r\\n\\r\\n' |
            openssl s_client -quiet -connect 127.0.0.1:4433 -CAfile /etc/ssl/cert.pem \
              -verify_return_error 2>client.log |
            { end=$(printf '\\r'); while read -r line && [ "$line" != "$end" ]; do :; done; sha256sum; }
          kill $(cat server.pid)
        `,
          TLS_MS,
        );
        const seconds = (performance.now() - start) / 1000;
        expect(received).toBe(sent);
        // A record has 16 KiB at most, is encrypted, decrypted, and has a MAC on both sides.
        expect((await done("aes-cbc")) - before[0]).toBeGreaterThan(mib * 128);
        expect((await done(mac)) - before[1]).toBeGreaterThan(mib * 128);
        if (process.env.VCD_TLS_MIB !== undefined) {
          console.log(`${suite}: ${mib} MiB in ${seconds.toFixed(1)} s`);
        }
      },
      TLS_MS + 120_000,
    );
  }

  vmTest("leaves nothing open in the device", async () => {
    await until("everything to be closed", async () => {
      const metrics = await daemon.metrics();
      return ["files", "sessions"].every((name) => metrics.get(`virtio_cryptodevd_${name}`) === 0);
    });
  });
});
