/** Programs that run in a guest. */
import { existsSync, readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { ROOT } from "../../src/setup/build.ts";
import { CACHE, run } from "./cache.ts";
import { systemPackages } from "./debian.ts";

/** The static busybox that is the guest's userland. */
export function busybox(): string {
  return join(systemPackages("busybox", "busybox-static"), "bin/busybox");
}

function compiled(folder: string, name: string, flags: readonly string[]): string {
  const out = join(CACHE, `${name}${flags.join("")}`);
  // A program may be in pieces: NAME.c and NAME-PIECE.c.
  const sources = readdirSync(folder)
    .filter((file) => file === `${name}.c` || (file.startsWith(`${name}-`) && file.endsWith(".c")))
    .map((file) => join(folder, file));
  const isNewer = (file: string) => statSync(join(folder, file)).mtimeMs > statSync(out).mtimeMs;
  if (!existsSync(out) || readdirSync(folder).some(isNewer)) {
    run(["gcc", "-O2", "-Wall", "-Wextra", "-static", "-pthread", ...flags, "-o", out, ...sources]);
  }
  return out;
}

/** A C program of test/vm/guest, linked statically; for 32-bit machines with "-m32". */
export function guestTool(name: string, ...flags: string[]): string {
  return compiled(join(ROOT, "test/vm/guest"), name, flags);
}

/** A C program of test/fixtures, for this machine. */
export function hostTool(name: string): string {
  return compiled(join(ROOT, "test/fixtures"), name, []);
}
