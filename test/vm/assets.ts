/**
 * What guests are made of, in a cache outside the repository: Debian's kernel, busybox and firmware,
 * unpacked and not installed; our QEMU and our driver, built.
 */
import {
  existsSync,
  mkdirSync,
  readdirSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";
import { ROOT } from "../../src/setup/build.ts";

export const CACHE = join(
  process.env.XDG_CACHE_HOME || join(homedir(), ".cache"),
  "virtio-cryptodev",
);

export interface Kernel {
  /** As uname -r has it. */
  readonly release: string;
  readonly image: string;
  /** The folder that holds lib/modules. */
  readonly tree: string;
  /** Our driver, built for it. */
  readonly driver: string;
}

/** Runs a command; throws with its output when it fails. */
export function run(
  command: string[],
  options: { cwd?: string; env?: Record<string, string> } = {},
): string {
  const result = Bun.spawnSync(command, {
    stdio: ["ignore", "pipe", "pipe"],
    ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
    env: { ...process.env, ...options.env },
  });
  const output = result.stdout.toString();
  if (result.exitCode !== 0) {
    throw new Error(`${command.join(" ")} failed:\n${output}\n${result.stderr.toString()}`);
  }
  return output;
}

/** Unpacks Debian packages into one folder of the cache, once. @returns that folder */
function unpacked(name: string, packages: readonly string[]): string {
  const folder = join(CACHE, name);
  if (existsSync(folder)) return folder;
  const partial = `${folder}.partial`;
  rmSync(partial, { recursive: true, force: true });
  mkdirSync(join(partial, "tree"), { recursive: true });
  run(["apt-get", "download", ...packages], { cwd: partial });
  for (const file of readdirSync(partial).filter((entry) => entry.endsWith(".deb"))) {
    run(["dpkg", "-x", join(partial, file), join(partial, "tree")]);
    rmSync(join(partial, file));
  }
  renameSync(join(partial, "tree"), folder);
  rmSync(partial, { recursive: true });
  return folder;
}

/** The packages that a metapackage stands for now. */
function dependencyOf(metapackage: string): string {
  const text = run(["apt-cache", "depends", metapackage]);
  const name = text.match(/Depends: (linux-\S+)/)?.[1];
  if (name === undefined) throw new Error(`${metapackage} depends on no kernel`);
  return name;
}

/** Debian's stock cloud kernel, with our driver built for it. */
export function stockKernel(): Kernel {
  const imagePackage = dependencyOf("linux-image-cloud-amd64");
  const release = imagePackage.replace("linux-image-", "");
  const tree = unpacked(`kernel-${release}`, [imagePackage]);
  const headers = `/usr/src/linux-headers-${release}`;
  if (!existsSync(headers))
    throw new Error(`no headers for ${release}: apt-get install linux-headers-cloud-amd64`);
  const driver = buildDriver(release, headers);
  return { release, image: join(tree, "boot", `vmlinuz-${release}`), tree, driver };
}

const DRIVER_FILES = [
  "virtio_cryptodev.c",
  "virtio_cryptodev.h",
  "cryptodev_abi.h",
  "Makefile",
  "Kbuild",
];

/** Builds the driver outside the repository. @returns the module's path */
function buildDriver(release: string, headers: string): string {
  const folder = join(CACHE, `driver-${release}`);
  mkdirSync(folder, { recursive: true });
  const source = join(ROOT, "linux-driver");
  for (const file of DRIVER_FILES) {
    const [from, to] = [join(source, file), join(folder, file)];
    if (!existsSync(to) || statSync(from).mtimeMs > statSync(to).mtimeMs) {
      writeFileSync(to, Bun.spawnSync(["cat", from]).stdout);
    }
  }
  run(["make", "-C", headers, `M=${folder}`, "W=1", "modules"]);
  return join(folder, "virtio_cryptodev.ko");
}

/** Our QEMU, built where it is not, and the folders of its firmware. */
export function qemu(): { readonly program: string; readonly firmware: string[] } {
  run(["make", "-C", join(ROOT, "qemu-patch"), `CACHE=${CACHE}`]);
  const tree = unpacked("firmware", ["seabios", "qemu-system-data"]);
  return {
    program: join(CACHE, "qemu-build/qemu-system-x86_64"),
    firmware: [join(tree, "usr/share/seabios"), join(tree, "usr/share/qemu")],
  };
}

/** The static busybox that is the guest's userland. */
export function busybox(): string {
  return join(unpacked("busybox", ["busybox-static"]), "bin/busybox");
}

/** A C program of test/vm/guest, linked statically. */
export function guestTool(name: string): string {
  const out = join(CACHE, name);
  const source = join(ROOT, "test/vm/guest", `${name}.c`);
  if (!existsSync(out) || statSync(source).mtimeMs > statSync(out).mtimeMs) {
    run(["gcc", "-O2", "-Wall", "-Wextra", "-static", "-pthread", "-o", out, source]);
  }
  return out;
}
