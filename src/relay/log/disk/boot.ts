/** Which run of the machine this is: what was written before another one began may be lost. */
import { readFileSync } from "node:fs";

/** The machine's name for its present run; one that nothing else has where it doesn't say. */
export function bootId(): string {
  try {
    return readFileSync("/proc/sys/kernel/random/boot_id", "utf8").trim();
  } catch {
    return crypto.randomUUID();
  }
}
