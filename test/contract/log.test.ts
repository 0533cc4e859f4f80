/** The kinds of log, in the parts that they are made of, by one contract. */

import { MemoryLogs } from "../../src/relay/log/memory.ts";
import { SYSTEM } from "../../src/runtime.ts";
import { until } from "../support/programs.ts";
import { logContract } from "./log.ts";

logContract({
  name: "memory",
  keeps: false,
  make: async (budget) => ({
    logs: new MemoryLogs(SYSTEM),
    budget,
    until: (condition) => until("the log", condition).then(() => undefined),
    reopened: async () => new MemoryLogs(SYSTEM),
    end: async () => undefined,
  }),
});
