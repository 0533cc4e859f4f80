/**
 * Compiles cshim/cryptodev.c with Bun's cc and gives its functions to the rest.
 *
 * cc opens a path with open(2), so a file embedded in a compiled executable is none it can read:
 * the source goes through a memfd. -nostdlib, because a machine without development files has no
 * libc to link; the shim needs none.
 */

import { cc, dlopen, FFIType } from "bun:ffi";
import { writeSync } from "node:fs";
import shimSource from "../../cshim/cryptodev.c" with { type: "text" };
import abi from "../../cshim/cryptodev_abi.h" with { type: "text" };

const { i32, u32, u64, ptr } = FFIType;

const SYMBOLS = {
  shim_bind: { args: [ptr], returns: FFIType.void },
  shim_open: { args: [ptr], returns: i32 },
  shim_close: { args: [i32], returns: i32 },
  shim_map: { args: [i32, u32, ptr], returns: i32 },
  shim_unmap: { args: [u64, u32], returns: i32 },
  shim_cipher_session: { args: [i32, u32, ptr, u32, ptr], returns: i32 },
  shim_mac_session: { args: [i32, u32, ptr, u32, ptr], returns: i32 },
  shim_end_session: { args: [i32, u32], returns: i32 },
  shim_session_info: { args: [i32, u32, ptr, ptr], returns: i32 },
  shim_crypt: { args: [i32, u32, u32, ptr, u32, u32, u32], returns: i32 },
  shim_mac: { args: [i32, u32, ptr, u32, u32, ptr], returns: i32 },
  shim_layout: { args: [ptr, i32], returns: i32 },
} as const;

export type Shim = ReturnType<typeof compile>;

/** The header stands where it is asked for: there is no folder to look for it. */
const source = shimSource.replace('#include "cryptodev_abi.h"', () => abi);

let shim: Shim | undefined;

/**
 * The shim's functions, compiled at the first call (1 to 3 ms).
 * @throws Error where Bun's cc or the C library is not to be had
 */
export function loadShim(): Shim {
  shim ??= compile();
  return shim;
}

const MFD_CLOEXEC = 1;

function compile() {
  const libc = openLibc();
  const fd = libc.symbols.memfd_create(Buffer.from("cryptodev.c\0"), MFD_CLOEXEC);
  if (fd < 0) throw new Error("memfd_create failed: no place for the cryptodev shim's source");
  // The descriptor stays open: cc may read it again, and it is the process's only one.
  writeSync(fd, source);
  const { symbols } = cc({
    source: `/proc/self/fd/${fd}`,
    symbols: SYMBOLS,
    flags: ["-nostdlib"],
  });
  if (process.arch !== "x64") {
    symbols.shim_bind(libcFunctions());
  }
  return symbols;
}

/** glibc's and musl's names of the C library that this process has loaded already. */
const LIBC_NAMES = ["libc.so.6", "libc.musl-x86_64.so.1", "libc.musl-aarch64.so.1"];

function openLibc() {
  for (const name of LIBC_NAMES) {
    try {
      return dlopen(name, { memfd_create: { args: [ptr, u32], returns: i32 } });
    } catch {
      // The next name may be this system's.
    }
  }
  throw new Error(`no C library under any of the names ${LIBC_NAMES.join(", ")}`);
}

/** The loader's handle for everything that is loaded. */
const RTLD_DEFAULT = null;

/** What the shim calls where it can make no system calls of its own, in the order that it knows. */
const LIBC_FUNCTIONS = ["open", "close", "ioctl", "mmap", "munmap", "madvise", "__errno_location"];

function libcFunctions(): BigUint64Array {
  const loader = dlopen("libc.so.6", { dlsym: { args: [ptr, ptr], returns: ptr } });
  return BigUint64Array.from(LIBC_FUNCTIONS, (name) => {
    const address = loader.symbols.dlsym(RTLD_DEFAULT, Buffer.from(`${name}\0`));
    if (address === null) throw new Error(`the C library has no ${name}`);
    return BigInt(address);
  });
}

/** A zero-terminated string out of a buffer that the shim wrote. */
export function textOf(bytes: Uint8Array): string {
  const end = bytes.indexOf(0);
  return new TextDecoder().decode(bytes.subarray(0, end < 0 ? bytes.length : end));
}
