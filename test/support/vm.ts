/** Whether virtual machines can be used here, and how a test says so in its name. */
import { test } from "bun:test";
import { isThere, VM_TOOLS } from "../../src/setup/packages.ts";

/** How long a test with guests may take, in milliseconds. */
const GUEST_MS = 300_000;

const missing = VM_TOOLS.filter((tool) => !isThere(tool)).map((tool) => tool.package);

/** Why not, or undefined where they can. */
export const noVm =
  process.arch !== "x64"
    ? "needs an x86-64 machine"
    : missing.length > 0
      ? `needs Debian packages: apt-get install ${missing.join(" ")}`
      : undefined;

/** Names a test with the reason why it can't run here. */
export function leftOut(why: string): (name: string, body: () => Promise<void>) => void {
  return (name, body) => test.skip(`${name} [left out: ${why}]`, body);
}

/** A test in a guest, named with the reason where it can't run. */
export const vmTest: (name: string, body: () => Promise<void>, milliseconds?: number) => void =
  noVm === undefined
    ? (name, body, milliseconds = GUEST_MS) => test(name, body, milliseconds)
    : leftOut(noVm);
