import { setDefaultTimeout } from "bun:test";
import { ensureExecutables } from "../../src/setup/executables.ts";

// Processes are started, rooms filled and terminals driven in these tests.
setDefaultTimeout(60_000);
await ensureExecutables();
