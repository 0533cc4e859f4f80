/** Whether virtual machines can be used here, and how a test says so in its name. */
import { test } from "bun:test";
import { isThere, VM_TOOLS } from "../../src/setup/packages.ts";

const missing = VM_TOOLS.filter((tool) => !isThere(tool)).map((tool) => tool.package);

/** Why not, or undefined where they can. */
export const noVm =
  process.arch !== "x64"
    ? "needs an x86-64 machine"
    : missing.length > 0
      ? `needs Debian packages: apt-get install ${missing.join(" ")}`
      : undefined;

/** A test in a guest, named with the reason where it can't run. */
export function vmTest(name: string, body: () => Promise<void>, milliseconds = 300_000): void {
  if (noVm === undefined) test(name, body, milliseconds);
  else test.skip(`${name} [left out: ${noVm}]`, body);
}
