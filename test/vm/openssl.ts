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
  writeFileSync,
} from "node:fs";
import { dirname, join } from "node:path";
import { ROOT } from "../../src/setup/build.ts";
import { CACHE, run } from "./cache.ts";
import { sourcePackage } from "./debian.ts";

/** One program that needs libc only, with the engine and all providers in it. */
const CONFIGURATION = [
  ...["linux-x86_64", "enable-devcryptoeng", "no-shared", "no-module", "no-tests", "-Iours"],
  // What neither the engine nor the tests use
  ...["no-afalgeng", "no-aria", "no-cmp", "no-cms", "no-comp", "no-ct", "no-dtls", "no-ec2m"],
  ...["no-gost", "no-idea", "no-mdc2", "no-ocsp", "no-rc2", "no-rfc3779", "no-seed", "no-sm2"],
  ...["no-sm3", "no-sm4", "no-srp", "no-srtp", "no-ts", "no-whirlpool"],
  "--openssldir=/etc/ssl",
];

const TREE = join(CACHE, "openssl-build");

/** The source, unpacked and configured in the cache. */
function configure(): void {
  const wanted = CONFIGURATION.join(" ");
  const record = join(TREE, "configured-with");
  if (existsSync(record) && readFileSync(record, "utf8") === wanted) return;
  const folder = sourcePackage("openssl-download", "openssl", "bookworm");
  const description = readdirSync(folder).find((file) => file.endsWith(".dsc"));
  if (description === undefined) throw new Error(`no source package in ${folder}`);
  const partial = `${TREE}.partial`;
  for (const path of [partial, TREE]) rmSync(path, { recursive: true, force: true });
  run(["dpkg-source", "--no-check", "-x", join(folder, description), partial]);
  renameSync(partial, TREE);
  run(["./Configure", ...CONFIGURATION], { cwd: TREE });
  writeFileSync(record, wanted);
}

/** Our header in the tree. @returns whether it is another than the tree was built with */
function putHeader(): boolean {
  const [ours, theirs] = [join(ROOT, "linux-driver/include"), join(TREE, "ours")].map((folder) =>
    join(folder, "crypto/cryptodev.h"),
  ) as [string, string];
  if (existsSync(theirs) && readFileSync(ours).equals(readFileSync(theirs))) return false;
  mkdirSync(dirname(theirs), { recursive: true });
  copyFileSync(ours, theirs);
  return true;
}

/** Builds it where that is needed, for some minutes. @returns the path of its program */
export function openssl(): string {
  configure();
  const program = join(TREE, "apps/openssl");
  const built = join(TREE, "built");
  if (putHeader()) rmSync(built, { force: true });
  if (!existsSync(built)) {
    run(["make", "-s", "build_generated"], { cwd: TREE });
    run(["make", "-s", "apps/openssl"], { cwd: TREE });
    writeFileSync(built, "");
  }
  return program;
}

/** A C program of test/vm/guest that is linked with that OpenSSL's libcrypto. */
export function opensslTool(name: string): string {
  const library = join(dirname(dirname(openssl())), "libcrypto.a");
  const source = join(ROOT, "test/vm/guest", `${name}.c`);
  const out = join(CACHE, name);
  const made = existsSync(out) ? statSync(out).mtimeMs : 0;
  if ([library, source].some((file) => statSync(file).mtimeMs > made)) {
    const flags = ["-O2", "-Wall", "-Wextra", "-Werror", "-pthread", `-I${TREE}/include`];
    run(["gcc", ...flags, "-o", out, source, library, "-ldl"]);
  }
  return out;
}
