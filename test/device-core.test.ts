/** The device's core without any machine: its obligations, its backends, and a fuzzer; under sanitizers. */
import { expect } from "bun:test";
import { join } from "node:path";
import { ROOT } from "../src/setup/build.ts";
import { vmTest } from "./support/vm.ts";
import { CACHE } from "./vm/assets.ts";

/** Each is built three times, and fuzzing 100,000 inputs takes some minutes. */
const MILLISECONDS = 30 * 60_000;

async function make(...words: string[]): Promise<{ code: number; output: string }> {
  const command = ["make", "-s", "-C", join(ROOT, "qemu-patch"), `CACHE=${CACHE}`, ...words];
  const run = Bun.spawn(command, { stdio: ["ignore", "pipe", "pipe"] });
  const [output, errors] = await Promise.all([
    new Response(run.stdout).text(),
    new Response(run.stderr).text(),
  ]);
  return { code: await run.exited, output: `${output}\n${errors}` };
}

vmTest(
  "each requirement of the specification and each backend's known answers: plain, ASan and UBSan, TSan",
  async () => {
    const { code, output } = await make("check-core");
    expect([code, output]).toEqual([0, output]);
    for (const kind of ["plain", "asan", "tsan"]) {
      expect(output).toContain(`test-core-${kind}`);
      expect(output).toContain(`test-backend-${kind}`);
      expect(output).toContain(`test-authcrypt-${kind}`);
    }
    // Those whose loss would not show otherwise
    for (const name of ["settle-gsession", "libcrypto-known-answers", "cryptodev-probe"]) {
      expect(output.match(new RegExp(`^ok ${name}$`, "gm"))?.length).toBe(3);
    }
  },
  MILLISECONDS,
);

vmTest(
  "100,000 inputs of libFuzzer leave nothing alive",
  async () => {
    const inputs = process.env.VCD_FUZZ_INPUTS ?? "100000";
    const { code, output } = await make("fuzz-core", `INPUTS=${inputs}`);
    expect([code, output.slice(-4000)]).toEqual([0, output.slice(-4000)]);
    expect(output).toMatch(new RegExp(`Done ${inputs} runs`));
  },
  MILLISECONDS,
);
