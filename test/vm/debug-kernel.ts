/**
 * A kernel that watches itself: Debian 12's source, small, with the watchers of memory, locks, DMA and
 * object lifetimes that no distribution switches on. Built once, some minutes, and kept in the cache.
 */
import { existsSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import { join } from "node:path";
import { CACHE, run } from "./cache.ts";
import { systemPackages } from "./debian.ts";
import { buildDriver } from "./driver.ts";
import type { Kernel } from "./kernels.ts";

const SOURCE = "linux-source-6.1";

/** What the kernel is to have besides make tinyconfig, and what it is not to have. */
const CONFIG = {
  // Watchers
  KASAN: true,
  KASAN_GENERIC: true,
  KASAN_INLINE: true,
  KASAN_VMALLOC: true,
  SLUB: true,
  SLUB_DEBUG: true,
  PAGE_POISONING: true,
  HARDENED_USERCOPY: true,
  PROVE_LOCKING: true,
  DEBUG_ATOMIC_SLEEP: true,
  DEBUG_PREEMPT: true,
  DEBUG_KMEMLEAK: true,
  DEBUG_KMEMLEAK_AUTO_SCAN: false,
  DMA_API_DEBUG: true,
  DMA_API_DEBUG_SG: true,
  DEBUG_SG: true,
  DEBUG_VIRTUAL: true,
  DEBUG_LIST: true,
  DEBUG_NOTIFIERS: true,
  DEBUG_OBJECTS: true,
  DEBUG_OBJECTS_FREE: true,
  DEBUG_OBJECTS_WORK: true,
  DEBUG_OBJECTS_TIMERS: true,
  DEBUG_OBJECTS_RCU_HEAD: true,
  DEBUG_OBJECTS_PERCPU_COUNTER: true,
  DETECT_HUNG_TASK: true,
  SOFTLOCKUP_DETECTOR: true,
  FAULT_INJECTION: true,
  FAULT_INJECTION_DEBUG_FS: true,
  FAULT_INJECTION_USERCOPY: true,
  FAILSLAB: true,
  FAIL_PAGE_ALLOC: true,
  UNWINDER_FRAME_POINTER: true,
  KALLSYMS: true,
  BUG: true,
  DEBUG_KERNEL: true,
  DEBUG_FS: true,
  DEBUG_INFO_NONE: true,
  CPU_MITIGATIONS: false,
  // What makes it fast, and races likely
  KERNEL_XZ: false,
  KERNEL_GZIP: true,
  CC_OPTIMIZE_FOR_SIZE: false,
  CC_OPTIMIZE_FOR_PERFORMANCE: true,
  PREEMPT: true,
  SMP: true,
  NO_HZ_IDLE: true,
  HIGH_RES_TIMERS: true,
  // The machine
  "64BIT": true,
  ACPI: true,
  PCI: true,
  PCI_MSI: true,
  PCIEPORTBUS: true,
  HOTPLUG_PCI: true,
  HOTPLUG_PCI_PCIE: true,
  HOTPLUG_PCI_ACPI: true,
  VIRTIO_MENU: true,
  VIRTIO_PCI: true,
  SERIAL_8250: true,
  SERIAL_8250_CONSOLE: true,
  // Its programs
  PRINTK: true,
  TTY: true,
  BLK_DEV_INITRD: true,
  BINFMT_ELF: true,
  BINFMT_SCRIPT: true,
  IA32_EMULATION: true,
  MODULES: true,
  MODULE_UNLOAD: true,
  PROC_FS: true,
  PROC_SYSCTL: true,
  SYSFS: true,
  DEVTMPFS: true,
  TMPFS: true,
  SHMEM: true,
  FILE_LOCKING: true,
  MULTIUSER: true,
  FUTEX: true,
  EPOLL: true,
  EVENTFD: true,
  SIGNALFD: true,
  TIMERFD: true,
  POSIX_TIMERS: true,
  ADVISE_SYSCALLS: true,
  MEMBARRIER: true,
  NET: true,
  UNIX: true,
} as const;

/**
 * Of the kernel's command line: what is not in use is poisoned, no report is the last one, and all of
 * them are there to be read. The clock is one that takes no call of QEMU's.
 */
export const DEBUG_APPEND =
  "page_poison=1 slub_debug=P,kmalloc-* kasan_multi_shot log_buf_len=8M tsc=reliable";

const LOCALVERSION = "-watched";

function packageVersion(): string {
  const version = run(["apt-cache", "show", SOURCE]).match(/^Version: (\S+)/m)?.[1];
  if (version === undefined) throw new Error(`apt knows no version of ${SOURCE}`);
  return version;
}

/** The lines of a .config. */
function fragment(): string {
  const lines = Object.entries(CONFIG).map(([name, on]) =>
    on ? `CONFIG_${name}=y` : `# CONFIG_${name} is not set`,
  );
  return [...lines, `CONFIG_LOCALVERSION="${LOCALVERSION}"`, ""].join("\n");
}

/** What Kconfig dropped of what was asked for, which is a kernel that would not watch. */
function dropped(config: string): string[] {
  const lines = new Set(config.split("\n"));
  return Object.entries(CONFIG)
    .filter(([name, on]) => on !== lines.has(`CONFIG_${name}=y`))
    .map(([name]) => name);
}

function build(tree: string, version: string): void {
  const partial = `${tree}.partial`;
  for (const folder of [partial, tree]) rmSync(folder, { recursive: true, force: true });
  const source = systemPackages(`linux-source-${version}`, SOURCE);
  run(["mkdir", partial]);
  const archive = join(source, "usr/src", `${SOURCE}.tar.xz`);
  run(["tar", "-xJf", archive, "-C", partial, "--strip-components=1"]);
  // Where modules are built against it there is its name in files.
  renameSync(partial, tree);
  // A tool that checks object files, and wants libelf; nothing here needs what it makes.
  run(["sed", "-i", "/select HAVE_OBJTOOL/d", join(tree, "arch/x86/Kconfig")]);
  const make = (...words: string[]) => run(["make", "-s", "-C", tree, ...words]);
  make("tinyconfig");
  writeFileSync(join(tree, "watched.config"), fragment());
  run(["scripts/kconfig/merge_config.sh", "-m", ".config", "watched.config"], { cwd: tree });
  make("olddefconfig");
  const missing = dropped(readFileSync(join(tree, ".config"), "utf8"));
  if (missing.length > 0) throw new Error(`the debug kernel's configuration lacks ${missing}`);
  make(`-j${availableParallelism()}`, "bzImage", "modules");
}

/** The kernel that watches itself, built where it is not. */
export function debugKernel(): Kernel {
  const version = packageVersion();
  const tree = join(CACHE, "debug-kernel");
  const stamp = join(tree, "built-from");
  const wanted = `${version}\n${fragment()}`;
  if (!existsSync(stamp) || readFileSync(stamp, "utf8") !== wanted) {
    build(tree, version);
    writeFileSync(stamp, wanted);
  }
  const release = readFileSync(join(tree, "include/config/kernel.release"), "utf8").trim();
  let driver: string | undefined;
  return {
    release,
    image: join(tree, "arch/x86/boot/bzImage"),
    // Whatever a guest loads of the kernel's is built in.
    modules: join(tree, "no-modules"),
    headers: tree,
    get driver() {
      driver ??= buildDriver(release, tree);
      return driver;
    },
  };
}
