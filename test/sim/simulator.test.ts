/**
 * The simulator, over 10,000 seeds in CI, 500 elsewhere, or CHAT_SIM_SEEDS from CHAT_SIM_FROM on. A seed
 * that fails is printed with the smallest part of its plan that still does, and replays:
 * bun test/sim/main.ts --seed N.
 */
import { describe, expect, test } from "bun:test";
import { availableParallelism } from "node:os";
import { join } from "node:path";
import { DEEDS, type Plan } from "./plan.ts";
import { kindOf, minimise, planOf, run } from "./simulator.ts";

const SEEDS = Number(process.env.CHAT_SIM_SEEDS ?? (process.env.CI ? 10_000 : 500));
const FROM = Number(process.env.CHAT_SIM_FROM ?? 1);

test(
  `${SEEDS} seeds: nothing acknowledged is lost, doubled, out of order or shown to others`,
  async () => {
    const parts = Math.min(availableParallelism(), SEEDS);
    const each = Math.ceil(SEEDS / parts);
    const runs = Array.from({ length: parts }, async (_, i) => {
      const words = [String(each), "--from", String(FROM + i * each)];
      const program = Bun.spawn([process.execPath, join(import.meta.dir, "main.ts"), ...words], {
        stdio: ["ignore", "pipe", "inherit"],
      });
      const output = await new Response(program.stdout).text();
      return { code: await program.exited, output };
    });
    for (const { code, output } of await Promise.all(runs)) {
      if (code !== 0) throw new Error(output);
      console.log(output.trim());
    }
  },
  // 40 ms a seed; five times that on a machine that does something else too.
  60_000 + SEEDS * 200,
);

describe("a seed", () => {
  test("decides everything: run again it is the same, step by step", async () => {
    for (const seed of ["1", "2", "3", "5", "8", "13"]) {
      const plan = planOf(seed);
      const traces = [0, 1].map(() => [] as string[]);
      const outcomes = [];
      for (const trace of traces) outcomes.push(await run(plan, (line) => trace.push(line)));
      expect(outcomes[1]).toEqual(outcomes[0]);
      expect(traces[1]).toEqual(traces[0]);
    }
  });

  test("of every kind of world is drawn", () => {
    const plans = Array.from({ length: 200 }, (_, i) => planOf(String(i)));
    expect(new Set(plans.map(({ kind }) => kind)).size).toBe(3);
    expect(new Set(plans.flatMap(({ actions }) => actions.map(({ deed }) => deed))).size).toBe(
      Object.keys(DEEDS).length,
    );
  });

  test("that fails is cut down to what makes it fail", async () => {
    // Whoever has a partition fails here.
    const fails = async (plan: Plan) =>
      plan.actions.some(({ deed }) => deed === "partition")
        ? { error: new Error(`partition among ${plan.actions.length}`) }
        : { steps: 0, entries: 0, digest: 0 };
    let seed = 0;
    while (!("error" in (await fails(planOf(String(seed)))))) seed += 1;
    const plan = planOf(String(seed));
    const { error } = (await fails(plan)) as { error: Error };
    const small = await minimise({ seed: String(seed), plan, error }, fails);
    expect(small.plan.actions.map(({ deed }) => deed)).toEqual(["partition"]);
    expect(kindOf(small.error)).toBe(kindOf(error));
  });
});
