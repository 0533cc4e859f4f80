/** Debian packages that tests and benchmarks need besides npm's. */
import { existsSync } from "node:fs";

export interface Tool {
  /** A command that must be on the PATH, or a file that must exist when it begins with "/". */
  readonly needs: string;
  readonly package: string;
}

/** What the tests run: a real terminal, an independent implementation, a C compiler. */
export const TEST_TOOLS: readonly Tool[] = [
  { needs: "tmux", package: "tmux" },
  { needs: "openssl", package: "openssl" },
  { needs: "faketime", package: "faketime" },
  { needs: "nats-server", package: "nats-server" },
  { needs: "systemd-analyze", package: "systemd" },
  { needs: "gcc", package: "gcc" },
  { needs: "/usr/include/stdio.h", package: "libc6-dev" },
];

/**
 * What guests are made with: QEMU is built, a kernel driver is, Debian's packages are unpacked; and
 * what the device's daemon and its core are built and fuzzed with.
 */
export const VM_TOOLS: readonly Tool[] = [
  { needs: "gcc", package: "gcc" },
  { needs: "make", package: "make" },
  { needs: "/usr/include/stdio.h", package: "libc6-dev" },
  { needs: "apt-get", package: "apt" },
  { needs: "dpkg-source", package: "dpkg-dev" },
  {
    needs: "/usr/share/keyrings/debian-archive-keyring.gpg",
    package: "debian-archive-keyring",
  },
  { needs: "xz", package: "xz-utils" },
  { needs: "bc", package: "bc" },
  { needs: "/usr/sbin/mkfs.ext4", package: "e2fsprogs" },
  { needs: "g++", package: "g++" },
  { needs: "patch", package: "patch" },
  { needs: "ninja", package: "ninja-build" },
  { needs: "pkg-config", package: "pkg-config" },
  { needs: "flex", package: "flex" },
  { needs: "bison", package: "bison" },
  { needs: "/var/lib/dpkg/info/python3-venv.list", package: "python3-venv" },
  { needs: "/usr/include/glib-2.0/glib.h", package: "libglib2.0-dev" },
  { needs: "/usr/include/zlib.h", package: "zlib1g-dev" },
  { needs: "/usr/include/libfdt.h", package: "libfdt-dev" },
  { needs: "/usr/include/nettle/aes.h", package: "nettle-dev" },
  { needs: "/usr/include/slirp/libslirp.h", package: "libslirp-dev" },
  { needs: "/usr/include/attr/libattr.h", package: "libattr1-dev" },
  { needs: "/usr/include/cap-ng.h", package: "libcap-ng-dev" },
  { needs: "/usr/include/openssl/evp.h", package: "libssl-dev" },
  { needs: "/usr/include/seccomp.h", package: "libseccomp-dev" },
  { needs: "clang", package: "clang" },
  // AddressSanitizer and libFuzzer, whatever clang's version is.
  { needs: "/var/lib/dpkg/info/libclang-rt-dev.list", package: "libclang-rt-dev" },
  { needs: "/usr/lib32/libc.a", package: "gcc-multilib" },
  { needs: "sparse", package: "sparse" },
  { needs: "/usr/sbin/depmod", package: "kmod" },
  { needs: "unshare", package: "util-linux" },
  { needs: "mount", package: "mount" },
  { needs: "virt-xml-validate", package: "libvirt-clients" },
  { needs: "virsh", package: "libvirt-clients" },
  { needs: "xmllint", package: "libxml2-utils" },
  {
    needs: "/var/lib/dpkg/info/linux-headers-cloud-amd64.list",
    package: "linux-headers-cloud-amd64",
  },
];

/** What the benchmark compares with. */
export const BENCH_TOOLS: readonly Tool[] = [
  { needs: "openssl", package: "openssl" },
  { needs: "/usr/include/openssl/ssl.h", package: "libssl-dev" },
  { needs: "gcc", package: "gcc" },
  { needs: "/usr/include/stdio.h", package: "libc6-dev" },
  { needs: "redis-server", package: "redis-server" },
  { needs: "nats-server", package: "nats-server" },
  { needs: "taskset", package: "util-linux" },
];

/** Whether a tool is on this machine. */
export function isThere({ needs }: Tool): boolean {
  return needs.startsWith("/") ? existsSync(needs) : Bun.which(needs) !== null;
}

function run(command: string[]): boolean {
  const { exitCode } = Bun.spawnSync(command, {
    stdio: ["ignore", "ignore", "inherit"],
    env: { ...process.env, DEBIAN_FRONTEND: "noninteractive" },
  });
  return exitCode === 0;
}

/**
 * Installs what is missing where that is possible without a password.
 * @returns what is still missing, after printing the one command that installs it
 */
export function ensurePackages(tools: readonly Tool[]): readonly Tool[] {
  const absent = () => tools.filter((tool) => !isThere(tool));
  const missing = absent();
  if (missing.length === 0) return [];
  const names = [...new Set(missing.map((tool) => tool.package))];
  const sudo = process.getuid?.() === 0 ? [] : ["sudo", "-n"];
  if (Bun.which("apt-get") !== null) {
    process.stderr.write(`Installing ${names.join(" ")} ...\n`);
    run([...sudo, "apt-get", "-qq", "update"]);
    run([...sudo, "apt-get", "-qq", "install", "--no-install-recommends", "-y", ...names]);
  }
  const still = absent();
  if (still.length > 0) {
    const wanted = [...new Set(still.map((tool) => tool.package))].join(" ");
    process.stderr.write(`Missing: ${wanted}. On Debian: sudo apt-get install ${wanted}\n`);
  }
  return still;
}
