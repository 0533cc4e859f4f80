/** Kernels that guests boot: Debian's, unpacked, each with our driver built for it. */
import { existsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { kernelRelease, type Suite, suitePackages, systemPackages } from "./debian.ts";
import { buildDriver, buildDriverInRoot } from "./driver.ts";

export interface Kernel {
  /** As uname -r has it. */
  readonly release: string;
  readonly image: string;
  /** The folder of its modules. */
  readonly modules: string;
  /** What drivers are built against. */
  readonly headers: string;
  /** Our driver, which is built for it when it is first asked for. */
  readonly driver: string;
}

class UnpackedKernel implements Kernel {
  readonly release: string;
  readonly image: string;
  readonly modules: string;
  readonly headers: string;
  readonly #build: () => string;
  #driver: string | undefined;

  constructor(release: string, tree: string, headers: string, build: () => string) {
    this.release = release;
    const [modules = ""] = ["lib/modules", "usr/lib/modules"]
      .map((folder) => join(tree, folder, release))
      .filter(existsSync);
    this.modules = join(modules, "kernel");
    const boot = join(tree, "boot", `vmlinuz-${release}`);
    this.image = existsSync(boot) ? boot : join(modules, "vmlinuz");
    this.headers = headers;
    this.#build = build;
  }

  get driver(): string {
    this.#driver ??= this.#build();
    return this.#driver;
  }
}

/** "6.1.0-56" of "6.1.0-56-cloud-amd64". */
const versionOf = (release: string) => release.replace(/(-cloud)?-amd64$/, "");

/** Debian's stock cloud kernel. */
export function stockKernel(): Kernel {
  const release = kernelRelease("linux-image-cloud-amd64");
  const tree = systemPackages(`kernel-${release}`, `linux-image-${release}`);
  const headers = `/usr/src/linux-headers-${release}`;
  if (!existsSync(headers)) {
    throw new Error(`no headers for ${release}: apt-get install linux-headers-cloud-amd64`);
  }
  return new UnpackedKernel(release, tree, headers, () => buildDriver(release, headers));
}

/** The cloud kernel of Debian 12's backports, and its headers, neither of them installed. */
export function backportsKernel(): Kernel {
  const suite = "bookworm-backports";
  const release = kernelRelease("linux-image-cloud-amd64", suite);
  const version = versionOf(release);
  const packages = [`linux-image-${release}-unsigned`, ...headerPackages(release, version)];
  return uninstalled(release, suitePackages(`kernel-${release}`, suite, ...packages));
}

/** Debian's kernel with all of its modules: the cloud kernel lacks upstream's virtio_crypto. */
export function fullKernel(): Kernel {
  const release = kernelRelease("linux-image-amd64");
  // Debian 12's own kbuild package goes by the kernel's series, later ones by the release.
  const series = versionOf(release).replace(/\.0-.*/, "");
  const packages = [`linux-image-${release}`, ...headerPackages(release, series)];
  return uninstalled(release, systemPackages(`kernel-${release}`, ...packages));
}

function headerPackages(release: string, kbuild: string): string[] {
  const common = `linux-headers-${versionOf(release)}-common`;
  return [`linux-headers-${release}`, common, `linux-kbuild-${kbuild}`];
}

/** A kernel whose headers are unpacked, and good for this machine's compiler. */
function uninstalled(release: string, tree: string): Kernel {
  const headers = join(tree, "usr/src", `linux-headers-${release}`);
  // The headers name each other where they would be installed.
  const common = join(tree, "usr/src", `linux-headers-${versionOf(release)}-common`);
  writeFileSync(join(headers, "Makefile"), `include ${common}/Makefile\n`);
  return new UnpackedKernel(release, tree, headers, () => buildDriver(release, headers));
}

/** Debian 13's cloud kernel. */
export function trixieKernel(): Kernel {
  const release = kernelRelease("linux-image-cloud-amd64", "trixie");
  return foreign(release, "trixie", [`linux-image-${release}`]);
}

/** The newest cloud kernel that Debian has for its stable release. */
export function newestKernel(): Kernel {
  const release = kernelRelease("linux-image-cloud-amd64", "trixie-backports");
  const parts = ["binary", "modules", "base"].map((part) => `linux-${part}-${release}`);
  return foreign(release, "trixie-backports", parts);
}

/** A kernel whose drivers want a compiler that this machine need not have. */
function foreign(release: string, suite: Suite, images: string[]): Kernel {
  const version = versionOf(release);
  const packages = [...images, ...headerPackages(release, version)];
  const tree = suitePackages(`kernel-${release}`, suite, ...packages);
  const headers = join(tree, "usr/src", `linux-headers-${release}`);
  return new UnpackedKernel(release, tree, headers, () =>
    buildDriverInRoot(release, version, tree),
  );
}
