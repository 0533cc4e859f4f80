/** What guests are made of, in one place for those who use it. */
export { CACHE, run } from "./cache.ts";
export { DEBUG_APPEND, debugKernel } from "./debug-kernel.ts";
export { driverSource, makeDriver } from "./driver.ts";
export {
  backportsKernel,
  fullKernel,
  type Kernel,
  newestKernel,
  stockKernel,
  trixieKernel,
} from "./kernels.ts";
export {
  cryptoDaemonProgram,
  type Emulator,
  lyingDaemonProgram,
  qemu,
  stockQemu,
} from "./qemu.ts";
export { busybox, guestTool, hostTool } from "./tools.ts";
