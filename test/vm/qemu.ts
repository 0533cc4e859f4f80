/** The QEMUs that guests run in: ours with the device in it, and a stock one; and the device as a daemon. */
import { join } from "node:path";
import { ROOT } from "../../src/setup/build.ts";
import { CACHE, run } from "./cache.ts";
import { suiteRoot } from "./debian.ts";

export interface Emulator {
  /** The words that start it. */
  readonly command: readonly string[];
  /** The folders of its firmware. */
  readonly firmware: readonly string[];
}

const made = new Set<string>();

/** Makes a target, once in this process. */
function make(target: string): void {
  if (made.has(target)) return;
  run(["make", "-s", "-C", join(ROOT, "qemu-patch"), `CACHE=${CACHE}`, target]);
  made.add(target);
}

const firmwareIn = (root: string) =>
  ["usr/share/seabios", "usr/share/qemu"].map((folder) => join(root, folder));

/** Our QEMU, built where it is not. */
export function qemu(): Emulator & { readonly program: string } {
  make("all");
  const program = join(CACHE, "qemu-build/qemu-system-x86_64");
  return { program, command: [program], firmware: firmwareIn(join(CACHE, "firmware")) };
}

/** Debian's prebuilt QEMU, the newest that it has for its stable release, run with libraries of its own. */
export function stockQemu(): Emulator {
  const root = suiteRoot(
    "qemu-stock",
    "trixie-backports",
    "qemu-system-x86",
    // Nothing is installed there.
    ...["-debconf", "-passwd", "-adduser", "-base-passwd", "-login.defs"],
  );
  const libraries = join(root, "usr/lib/x86_64-linux-gnu");
  return {
    command: [
      // It would look for its modules beside the program that runs, which is the linker.
      ...["env", `QEMU_MODULE_DIR=${libraries}/qemu`],
      ...[join(root, "usr/lib64/ld-linux-x86-64.so.2"), "--library-path", libraries],
      ...["--argv0", "qemu-system-x86_64", join(root, "usr/bin/qemu-system-x86_64")],
    ],
    firmware: firmwareIn(root),
  };
}

/** The device as a daemon for a stock QEMU, built where it is not. @returns its path */
export function cryptoDaemonProgram(): string {
  make("vhost-user");
  return join(CACHE, "vhost-user/virtio-cryptodevd");
}

/** The same for a device that lies: qemu-patch/vhost-user/lie.h. @returns its path */
export function lyingDaemonProgram(): string {
  make("vhost-user-tools");
  return join(CACHE, "vhost-user/virtio-cryptodevd-lying");
}
