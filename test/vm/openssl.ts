/** OpenSSL with its /dev/crypto engine, which no distribution builds: Debian 12's source, against our header. */
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
} from "node:fs";
import { dirname, join } from "node:path";
import { ROOT } from "../../src/setup/build.ts";
import { CACHE, run } from "./cache.ts";
import { sourcePackage } from "./debian.ts";

/** One program that needs libc only, with the engine and all providers in it. */
const CONFIGURATION = [
  ...["linux-x86_64", "enable-devcryptoeng", "no-shared", "no-module", "no-tests", "no-fuzz-afl"],
  // What neither the engine nor the tests use.
  ...["no-afalgeng", "no-aria", "no-cmp", "no-cms", "no-comp", "no-ct", "no-dtls", "no-ec2m"],
  ...["no-gost", "no-idea", "no-mdc2", "no-ocsp", "no-rc2", "no-rfc3779", "no-seed", "no-sm2"],
  ...["no-sm3", "no-sm4", "no-srp", "no-srtp", "no-ts", "no-whirlpool"],
  "--openssldir=/etc/ssl",
];

const HEADER = "crypto/cryptodev.h";

/** The source tree, unpacked and configured. */
function source(): string {
  const tree = join(CACHE, "openssl-build");
  const configuration = CONFIGURATION.join(" ");
  const record = join(tree, "configured-with");
  if (existsSync(record) && readFileSync(record, "utf8") === configuration) return tree;
  const folder = sourcePackage("openssl-download", "openssl", "bookworm");
  const name = readdirSync(folder).find((file) => file.endsWith(".dsc"));
  if (name === undefined) throw new Error(`no source package in ${folder}`);
  const partial = `${tree}.partial`;
  for (const path of [partial, tree]) rmSync(path, { recursive: true, force: true });
  run(["dpkg-source", "--no-check", "-x", join(folder, name), partial]);
  // Its makefile names no place but this one.
  renameSync(partial, tree);
  run(["./Configure", ...CONFIGURATION, `-I${tree}/ours`], { cwd: tree });
  return tree;
}
