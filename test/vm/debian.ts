/** Debian's packages, unpacked into folders of the cache and not installed: qemu-patch/debian.sh from here. */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { ROOT } from "../../src/setup/build.ts";
import { CACHE, run } from "./cache.ts";

/** Debian 12's and 13's newer kernels and programs, and Debian 13 itself. */
export type Suite = "bookworm-backports" | "trixie" | "trixie-backports";

/** Whose source packages are to be had. */
export type SourceSuite = "bookworm" | "trixie";

function debian(command: string, ...words: string[]): string {
  return run(["bash", join(ROOT, "qemu-patch/debian.sh"), command, ...words], { env: { CACHE } });
}

/** Makes a folder of the cache with one of debian.sh's commands, once. @returns that folder */
function folder(name: string, command: string, ...words: string[]): string {
  const path = join(CACHE, name);
  if (!existsSync(path)) debian(command, path, ...words);
  return path;
}

/** The files of a source package, not unpacked. */
export function sourcePackage(name: string, source: string, suite: SourceSuite): string {
  return folder(name, "source", `${source}/${suite}`);
}

/** Just these packages, as this machine's own apt has them. */
export function systemPackages(name: string, ...packages: string[]): string {
  return folder(name, "system-unpack", ...packages);
}

/** Just these packages of a suite. */
export function suitePackages(name: string, suite: Suite, ...packages: string[]): string {
  return folder(name, "unpack", ...packages.map((entry) => `${entry}/${suite}`));
}

/** Packages of a suite with all that they depend on, without those that begin with "-". */
export function suiteRoot(name: string, suite: Suite, ...packages: string[]): string {
  return folder(name, "root", suite, ...packages);
}

/** The release of the kernel that a metapackage stands for now; of this machine's suite or another. */
export function kernelRelease(metapackage: string, suite?: Suite): string {
  const text =
    suite === undefined
      ? run(["apt-cache", "show", metapackage])
      : debian("show", `${metapackage}/${suite}`);
  const release = text.match(/^Depends:.*\blinux-image-(\d\S*-amd64)/m)?.[1];
  if (release === undefined) throw new Error(`${metapackage} depends on no kernel`);
  return release;
}
