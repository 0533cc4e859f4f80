/** Seeds to simulations: one run of a seed, and the smallest part of a plan that still fails. */
import { type Action, drawPlan, type Plan } from "./plan.ts";
import { Prng } from "./prng.ts";
import { type Outcome, Simulation } from "./simulation.ts";

export interface Failure {
  readonly seed: string;
  readonly plan: Plan;
  readonly error: unknown;
}

/** Errors that nobody waited for: they belong to the simulation that runs. */
const stray: unknown[] = [];

/** Catches, from now on, what is thrown where nobody waits for it. */
export function catchStrays(): void {
  process.on("unhandledRejection", (error) => stray.push(error));
}

/** Runs a plan. @returns its outcome, or what failed */
export async function run(
  plan: Plan,
  trace?: (line: string) => void,
): Promise<Outcome | { readonly error: unknown }> {
  stray.length = 0;
  try {
    const outcome = new Simulation(plan, trace).run();
    // Strays are told when the real event loop turns.
    await new Promise((resolve) => setImmediate(resolve));
    if (stray.length > 0) return { error: stray[0] };
    return outcome;
  } catch (error) {
    await new Promise((resolve) => setImmediate(resolve));
    return { error: stray[0] ?? error };
  }
}

export const planOf = (seed: string, size = 1): Plan => drawPlan(new Prng(seed), size);

/** What kind of failure it is: the same plan without some of its actions must fail in the same way. */
export function kindOf(error: unknown): string {
  const message = error instanceof Error ? `${error.name}: ${error.message}` : String(error);
  return message.replaceAll(/"[^"]*"/g, "…").replaceAll(/[0-9a-f]{8,}|\d+/g, "#");
}

/**
 * Leaves out actions, halves first and then ever smaller parts, as long as what is left fails alike
 * (Zeller's delta debugging).
 */
export async function minimise(
  failure: Failure,
  runPlan: typeof run = run,
  tries = 400,
): Promise<Failure> {
  let best = failure;
  let left = tries;
  const kind = kindOf(failure.error);
  const failsWith = async (actions: readonly Action[]) => {
    left -= 1;
    const plan = { ...best.plan, actions };
    const result = await runPlan(plan);
    if (!("error" in result) || kindOf(result.error) !== kind) return false;
    best = { seed: failure.seed, plan, error: result.error };
    return true;
  };
  for (let size = Math.ceil(best.plan.actions.length / 2); size >= 1 && left > 0; ) {
    let smaller = false;
    for (let at = 0; at < best.plan.actions.length && left > 0; ) {
      const { actions } = best.plan;
      if (await failsWith([...actions.slice(0, at), ...actions.slice(at + size)])) smaller = true;
      else at += size;
    }
    if (size === 1 && !smaller) break;
    size = size === 1 ? 1 : Math.ceil(size / 2);
  }
  return best;
}
