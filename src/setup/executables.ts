/** The compiled programs at the repository's root, made anew when a source is newer. */
import { existsSync, readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { build, PROGRAMS, ROOT } from "./build.ts";

const SOURCES = ["src", "cshim", "package.json", "package-lock.json"];

function newest(path: string): number {
  const stat = statSync(path);
  if (!stat.isDirectory()) return stat.mtimeMs;
  return Math.max(...readdirSync(path).map((name) => newest(join(path, name))));
}

/** Compiles where that is needed; says so, since it takes a few seconds. */
export async function ensureExecutables(): Promise<void> {
  const changed = Math.max(...SOURCES.map((source) => newest(join(ROOT, source))));
  const upToDate = PROGRAMS.every((program) => {
    const path = join(ROOT, program);
    return existsSync(path) && statSync(path).mtimeMs > changed;
  });
  if (upToDate) return;
  process.stderr.write("Compiling chat-server and chat-client ...\n");
  await build(ROOT);
}
