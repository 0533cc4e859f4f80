/** npm test: packages, types, lint, compile, and every test; ends with the count of all tests. */
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ROOT } from "./build.ts";
import { ensureExecutables } from "./executables.ts";
import { ensurePackages, TEST_TOOLS, VM_TOOLS } from "./packages.ts";

function step(name: string, command: string[]): boolean {
  console.log(`\n== ${name}`);
  const { exitCode } = Bun.spawnSync(command, {
    cwd: ROOT,
    stdio: ["ignore", "inherit", "inherit"],
  });
  if (exitCode !== 0) console.log(`== ${name} failed with exit code ${exitCode}`);
  return exitCode === 0;
}

/** What bun test's own report counts. */
function counts(report: string): { tests: number; failed: number; skipped: number } {
  const [, attributes = ""] = report.match(/<testsuites\b([^>]*)>/) ?? [];
  const count = (name: string) =>
    Number(attributes.match(new RegExp(`\\b${name}="(\\d+)"`))?.[1] ?? 0);
  return { tests: count("tests"), failed: count("failures"), skipped: count("skipped") };
}

const folder = mkdtempSync(join(tmpdir(), "check-"));
const report = join(folder, "report.xml");
const bin = (name: string) => join(ROOT, "node_modules/.bin", name);
const missing = ensurePackages([...TEST_TOOLS, ...VM_TOOLS]);
await ensureExecutables();
const results = [
  missing.length === 0,
  missing.length > 0 || step("QEMU, built once", ["make", "-s", "-C", "qemu-patch"]),
  step("types", [bin("tsc"), "--noEmit"]),
  step("lint", [bin("biome"), "ci", "."]),
  step("tests", [bin("bun"), "test", "--reporter=junit", `--reporter-outfile=${report}`]),
];
const { tests, failed, skipped } = counts(readFileSync(report, "utf8"));
rmSync(folder, { recursive: true });
// In CI nothing may be left out: a test that could not run is one that failed.
const passed = results.every(Boolean) && tests > 0 && !(process.env.CI && skipped > 0);
if (!passed && failed === 0) console.log("\nNot every check passed; see above.");
console.log(`\n${tests - failed - skipped} passed, ${failed} failed, ${skipped} skipped`);
process.exit(passed ? 0 : 1);
