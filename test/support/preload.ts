import { ensureExecutables } from "../../src/setup/executables.ts";

await ensureExecutables();
