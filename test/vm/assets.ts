/**
 * What guests are made of, in a cache outside the repository: Debian's kernel, busybox and firmware,
 * unpacked and not installed; our QEMU and our driver, built.
 */
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
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
  /** What drivers are built against. */
  readonly headers: string;
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

/** Options with which apt uses the lists that building QEMU has made: they have backports too. */
function privateApt(): string[] {
  const apt = join(CACHE, "apt");
  return [
    `Dir::Etc::sourcelist=${apt}/sources.list`,
    "Dir::Etc::sourceparts=-",
    `Dir::State::lists=${apt}/lists`,
    `Dir::Cache=${apt}/cache`,
    "APT::Sandbox::User=root",
  ].flatMap((option) => ["-o", option]);
}

/** Unpacks Debian packages into one folder of the cache, once. @returns that folder */
function unpacked(name: string, packages: readonly string[], options: string[] = []): string {
  const folder = join(CACHE, name);
  if (existsSync(folder)) return folder;
  const partial = `${folder}.partial`;
  rmSync(partial, { recursive: true, force: true });
  mkdirSync(join(partial, "tree"), { recursive: true });
  run(["apt-get", ...options, "download", ...packages], { cwd: partial });
  for (const file of readdirSync(partial).filter((entry) => entry.endsWith(".deb"))) {
    run(["dpkg", "-x", join(partial, file), join(partial, "tree")]);
    rmSync(join(partial, file));
  }
  renameSync(join(partial, "tree"), folder);
  rmSync(partial, { recursive: true });
  return folder;
}

/** The release of the kernel that a metapackage stands for now. */
function releaseOf(metapackage: string, options: string[] = []): string {
  const text = run(["apt-cache", ...options, "show", metapackage]);
  const release = text.match(/^Depends:.*\blinux-image-(\d\S*-amd64)/m)?.[1];
  if (release === undefined) throw new Error(`${metapackage} depends on no kernel`);
  return release;
}

/** Debian's stock cloud kernel, with our driver built for it. */
export function stockKernel(): Kernel {
  const release = releaseOf("linux-image-cloud-amd64");
  const tree = unpacked(`kernel-${release}`, [`linux-image-${release}`]);
  const headers = `/usr/src/linux-headers-${release}`;
  if (!existsSync(headers)) {
    throw new Error(`no headers for ${release}: apt-get install linux-headers-cloud-amd64`);
  }
  return kernel(release, tree, headers);
}

/** The cloud kernel of Debian's backports, and its headers, neither of them installed. */
export function backportsKernel(): Kernel {
  const options = privateApt();
  const release = releaseOf("linux-image-cloud-amd64/bookworm-backports", options);
  return uninstalledKernel(release, `${release}-unsigned`, options);
}

/** Debian's kernel with all of its modules: the cloud kernel lacks upstream's virtio_crypto. */
export function fullKernel(): Kernel {
  const release = releaseOf("linux-image-amd64");
  return uninstalledKernel(release, release);
}

/** A kernel with its headers, unpacked only. */
function uninstalledKernel(release: string, image: string, options: string[] = []): Kernel {
  const version = release.replace(/(-cloud)?-amd64$/, "");
  // Debian 12's own kbuild package goes by the kernel's series, later ones by the release.
  const kbuild = options.length === 0 ? version.replace(/\.0-.*/, "") : version;
  const packages = [
    `linux-image-${image}`,
    `linux-headers-${release}`,
    `linux-headers-${version}-common`,
    `linux-kbuild-${kbuild}`,
  ];
  const tree = unpacked(`kernel-${release}`, packages, options);
  const headers = join(tree, "usr/src", `linux-headers-${release}`);
  // The headers name each other where they would be installed.
  const include = `include ${join(tree, "usr/src", `linux-headers-${version}-common`)}/Makefile\n`;
  writeFileSync(join(headers, "Makefile"), include);
  return kernel(release, tree, headers);
}

function kernel(release: string, tree: string, headers: string): Kernel {
  const image = join(tree, "boot", `vmlinuz-${release}`);
  return { release, image, tree, headers, driver: buildDriver(release, headers) };
}

const DRIVER_FILES = [
  "virtio_cryptodev.c",
  "virtio_cryptodev.h",
  "cryptodev_abi.h",
  "Makefile",
  "Kbuild",
];

/** Without type information for BPF, which needs a tool that the headers only recommend. */
const BUILD_SETTINGS = ["W=1", "KCFLAGS=-Werror", "CONFIG_DEBUG_INFO_BTF_MODULES="];

/** The driver's source in a folder outside the repository. */
export function driverSource(folder: string): string {
  mkdirSync(folder, { recursive: true });
  const source = join(ROOT, "linux-driver");
  for (const file of DRIVER_FILES) {
    const [from, to] = [join(source, file), join(folder, file)];
    if (!existsSync(to) || !readFileSync(from).equals(readFileSync(to))) copyFileSync(from, to);
  }
  return folder;
}

/** Runs the driver's own Makefile, with all warnings being errors. @returns what it printed */
export function makeDriver(folder: string, headers: string, ...words: string[]): string {
  return run(["make", "-C", folder, `KDIR=${headers}`, ...BUILD_SETTINGS, ...words]);
}

/** Builds the driver. @returns its path */
function buildDriver(release: string, headers: string): string {
  const folder = driverSource(join(CACHE, `driver-${release}`));
  makeDriver(folder, headers, "modules");
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

/** A C program of test/vm/guest, linked statically; for 32-bit machines with "-m32". */
export function guestTool(name: string, ...flags: string[]): string {
  const out = join(CACHE, `${name}${flags.join("")}`);
  const folder = join(ROOT, "test/vm/guest");
  const source = join(folder, `${name}.c`);
  const isNewer = (file: string) => statSync(join(folder, file)).mtimeMs > statSync(out).mtimeMs;
  if (!existsSync(out) || readdirSync(folder).some(isNewer)) {
    run(["gcc", "-O2", "-Wall", "-Wextra", "-static", "-pthread", ...flags, "-o", out, source]);
  }
  return out;
}
