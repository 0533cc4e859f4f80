/** Our driver, built for a kernel: with this machine's compiler, or with the one that the kernel was built with. */
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
} from "node:fs";
import { dirname, join } from "node:path";
import { ROOT } from "../../src/setup/build.ts";
import { CACHE, run } from "./cache.ts";
import { suiteRoot } from "./debian.ts";

/** Without type information for BPF, which needs a tool that the headers only recommend. */
const BUILD_SETTINGS = ["W=1", "KCFLAGS=-Werror", "CONFIG_DEBUG_INFO_BTF_MODULES="];

const isSource = (name: string) =>
  /(^|\/)(Kbuild|Makefile|[^/]*\.[ch])$/.test(name) && !name.endsWith(".mod.c");

/** Source files of a folder, those in folders of it too. */
const sourceFiles = (folder: string) =>
  readdirSync(folder, { recursive: true, encoding: "utf8" }).filter(isSource);

/** The driver's source in a folder outside the repository: what has changed is copied. */
export function driverSource(folder: string): string {
  mkdirSync(folder, { recursive: true });
  const source = join(ROOT, "linux-driver");
  const files = sourceFiles(source);
  for (const file of files) {
    const [from, to] = [join(source, file), join(folder, file)];
    mkdirSync(dirname(to), { recursive: true });
    if (!existsSync(to) || !readFileSync(from).equals(readFileSync(to))) copyFileSync(from, to);
  }
  const gone = sourceFiles(folder).filter((file) => !files.includes(file));
  for (const file of gone) rmSync(join(folder, file));
  return folder;
}

/** Runs the driver's own Makefile, with all warnings being errors. @returns what it printed */
export function makeDriver(folder: string, headers: string, ...words: string[]): string {
  return run(["make", "-C", folder, `KDIR=${headers}`, ...BUILD_SETTINGS, ...words]);
}

/** The folder in which the driver is built for a kernel. */
function folderFor(release: string): string {
  return driverSource(join(CACHE, `driver-${release}`));
}

/** Builds the driver with this machine's compiler. @returns its path */
export function buildDriver(release: string, headers: string): string {
  const folder = folderFor(release);
  makeDriver(folder, headers, "modules");
  return join(folder, "virtio_cryptodev.ko");
}

/** What Debian 13 builds its kernels with, in a root of its own. */
function toolchain(): string {
  const root = suiteRoot(
    "gcc-trixie",
    "trixie-backports",
    ...["base-files", "bash", "dash", "coreutils", "sed", "grep", "mawk", "findutils", "diffutils"],
    ...["make", "gcc-14", "libelf1t64"],
    // Nothing but kernels is built with it.
    ...["-libasan8", "-libtsan2", "-liblsan0", "-libhwasan0", "-libubsan1", "-libitm1"],
    ...["-debconf", "-passwd", "-adduser"],
  );
  // Installing mawk would make this link.
  const awk = join(root, "usr/bin/awk");
  if (!existsSync(awk)) symlinkSync("mawk", awk);
  return root;
}

/**
 * Builds the driver inside Debian 13's root, for a kernel that is unpacked in `tree`. The mounts are
 * seen by nobody else, and gone when it ends.
 * @returns its path
 */
export function buildDriverInRoot(release: string, version: string, tree: string): string {
  const folder = folderFor(release);
  const root = toolchain();
  const kbuild = `usr/lib/linux-kbuild-${version}`;
  const mounts = [
    [join(tree, "usr/src"), "usr/src"],
    [join(tree, kbuild), kbuild],
    [folder, "mnt"],
    ["/dev", "dev"],
    // objtool reads it.
    ["/proc", "proc"],
  ] as const;
  const script = [
    ...mounts.flatMap(([from, to]) => {
      mkdirSync(join(root, to), { recursive: true });
      return [`mount --rbind '${from}' '${join(root, to)}'`];
    }),
    `exec chroot '${root}' "$@"`,
  ].join("\n");
  const become = process.getuid?.() === 0 ? [] : ["--map-root-user"];
  const make = ["make", "-C", "/mnt", `KDIR=/usr/src/linux-headers-${release}`, ...BUILD_SETTINGS];
  // Comments are checked with the stock kernel; this would want Perl.
  const words = [...make, "cmd_checkdoc=", "modules"];
  run(["unshare", "--mount", ...become, "sh", "-ec", script, "sh", ...words], {
    env: { PATH: "/usr/sbin:/usr/bin:/sbin:/bin", DEB_BUILD_ARCH: "amd64", LC_ALL: "C" },
  });
  return join(folder, "virtio_cryptodev.ko");
}
