/** Where everything is kept that guests are made of: outside the repository, so that nothing is made twice. */
import { homedir } from "node:os";
import { join } from "node:path";

export const CACHE = join(
  process.env.XDG_CACHE_HOME || join(homedir(), ".cache"),
  "virtio-cryptodev",
);

/** Runs a command; throws with its output when it fails. */
export function run(
  command: string[],
  options: { cwd?: string; env?: Record<string, string> } = {},
): string {
  const result = Bun.spawnSync(command, {
    stdio: ["ignore", "pipe", "pipe"],
    ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
    env: { ...process.env, ...options.env },
  });
  const output = result.stdout.toString();
  if (result.exitCode !== 0) {
    throw new Error(`${command.join(" ")} failed:\n${output}\n${result.stderr.toString()}`);
  }
  return output;
}
