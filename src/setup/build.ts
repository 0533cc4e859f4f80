/**
 * Compiles the two programs into single-file executables.
 *
 *   bun run build                        ./chat-server and ./chat-client for this machine
 *   bun run build linux-arm64 ...        dist/TARGET/ for each target named
 *   bun run build all                    every target that is known
 */
import { mkdirSync } from "node:fs";
import { join } from "node:path";

export const ROOT = join(import.meta.dir, "../..");
export const PROGRAMS = ["chat-server", "chat-client"] as const;
/** What runs in threads of its own, under `src/`: in the executable it has the same path (thread.ts). */
const THREADS = {
  "chat-server": ["relay/log/disk/worker.ts"],
  "chat-client": [],
} as const;
const TARGETS = [
  "linux-x64",
  "linux-x64-baseline",
  "linux-arm64",
  "linux-x64-musl",
  "linux-x64-baseline-musl",
  "linux-arm64-musl",
] as const;

/** Compiles both programs into `folder`; `target` as Bun names it, or this machine's. */
export async function build(folder: string, target?: string): Promise<void> {
  mkdirSync(folder, { recursive: true });
  for (const program of PROGRAMS) {
    const threads = THREADS[program].map((path) => join(ROOT, "src", path));
    await compile(join(ROOT, "src", `${program}.ts`), join(folder, program), target, threads);
  }
}

/** Compiles one program, and what it runs in threads. */
export async function compile(
  source: string,
  outfile: string,
  target?: string,
  threads: readonly string[] = [],
): Promise<void> {
  const result = await Bun.build({
    entrypoints: [source, ...threads],
    minify: { syntax: true, whitespace: true },
    compile: {
      outfile,
      ...(target === undefined ? {} : { target: `bun-${target}` as Bun.Build.CompileTarget }),
      // What lies in the folder that the program is started from must not change it.
      autoloadDotenv: false,
      autoloadBunfig: false,
    },
  });
  if (!result.success) throw new AggregateError(result.logs, `${source} did not compile`);
}

function targets(words: string[]): readonly string[] {
  if (words.includes("all")) return TARGETS;
  for (const word of words) {
    if (!TARGETS.some((target) => target === word)) {
      console.error(`build: no target "${word}"; there are ${TARGETS.join(", ")} and all`);
      process.exit(64);
    }
  }
  return words;
}

if (import.meta.main) {
  const wanted = targets(process.argv.slice(2));
  if (wanted.length === 0) await build(ROOT);
  for (const target of wanted) await build(join(ROOT, "dist", target), target);
}
