/**
 * The simulator by hand.
 *
 *   bun test/sim/main.ts 10000             that many seeds, from a random one on
 *   bun test/sim/main.ts 10000 --from 7    from seed 7 on
 *   bun test/sim/main.ts --seed 7          one, with all that happens in it
 *   bun test/sim/main.ts --seed 7 --small  the same, with what is not needed for its failure left out
 */
import { parseArgs } from "node:util";
import { catchStrays, type Failure, minimise, planOf, run } from "./simulator.ts";

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    from: { type: "string" },
    seed: { type: "string" },
    small: { type: "boolean", default: false },
    go: { type: "boolean", default: false },
  },
});

function describe({ seed, plan, error }: Failure): string {
  const { kind, fsync, keep, relays, rooms, limits, actions } = plan;
  const what = error instanceof Error ? (error.stack ?? error.message) : String(error);
  const world = JSON.stringify({ kind, fsync, keep, relays, rooms, limits });
  const doings = actions.map(
    ({ at, deed, which, much, ms }) => `  ${at} ${deed} ${which} ${much.toFixed(3)} ${ms}`,
  );
  return `seed ${seed}: ${what}\n${world}\n${doings.join("\n")}`;
}

catchStrays();
if (values.seed !== undefined) {
  let plan = planOf(values.seed);
  if (values.small) {
    const result = await run(plan);
    if ("error" in result) {
      plan = (await minimise({ seed: values.seed, plan, error: result.error })).plan;
    }
  }
  const result = await run(plan, (line) => console.log(line));
  if ("error" in result) console.log(describe({ seed: values.seed, plan, error: result.error }));
  else console.log(result);
  process.exit("error" in result ? 1 : 0);
}
const count = Number(positionals[0] ?? 1000);
const from = Number(values.from ?? crypto.getRandomValues(new Uint32Array(1))[0]);
let [steps, entries, failures] = [0, 0, 0];
const began = performance.now();
for (let i = 0; i < count; i++) {
  const seed = String(from + i);
  const plan = planOf(seed);
  const result = await run(plan);
  if ("error" in result) {
    failures += 1;
    const small = await minimise({ seed, plan, error: result.error });
    console.log(describe(small));
    if (!values.go) process.exit(1);
  } else {
    steps += result.steps;
    entries += result.entries;
  }
}
const seconds = (performance.now() - began) / 1000;
console.log(
  `${count} seeds from ${from}: ${failures} failed; ${steps} steps, ${entries} entries, ${seconds.toFixed(1)} s`,
);
process.exit(failures === 0 ? 0 : 1);
