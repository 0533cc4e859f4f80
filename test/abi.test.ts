/** Every copy of the /dev/crypto ABI, held against the facts, as each compiler sees it. */
import { afterAll, describe, expect, test } from "bun:test";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { ROOT } from "../src/setup/build.ts";
import { isThere } from "../src/setup/packages.ts";
import { Scratch } from "./support/programs.ts";
import { leftOut } from "./support/vm.ts";
import { run } from "./vm/assets.ts";

/** On 64-bit Linux: size, then members with their type and offset. */
const STRUCTURES: Readonly<Record<string, string>> = {
  session_op:
    "48: u32 cipher @0, u32 mac @4, u32 keylen @8, ptr key @16, u32 mackeylen @24, ptr mackey @32, u32 ses @40",
  crypt_op:
    "48: u32 ses @0, u16 op @4, u16 flags @6, u32 len @8, ptr src @16, ptr dst @24, ptr mac @32, ptr iv @40",
  crypt_auth_op:
    "72: u32 ses @0, u16 op @4, u16 flags @6, u32 len @8, u32 auth_len @12, ptr auth_src @16, ptr src @24, ptr dst @32, ptr tag @40, u32 tag_len @48, ptr iv @56, u32 iv_len @64",
  cphash_op: "8: u32 dst_ses @0, u32 src_ses @4",
  alg_info: "128: 64 cra_name @0, 64 cra_driver_name @64",
  session_info_op:
    "268: u32 ses @0, 64 cipher_info.cra_name @4, 64 cipher_info.cra_driver_name @68, 64 hash_info.cra_name @132, 64 hash_info.cra_driver_name @196, u16 alignmask @260, u32 flags @264",
  crypt_kop:
    "144: u32 crk_op @0, u32 crk_status @4, u16 crk_iparams @8, u16 crk_oparams @10, u32 crk_pad1 @12, ptr crk_param[0].crp_p @16, u32 crk_param[0].crp_nbits @24, ptr crk_param[7].crp_p @128",
};

/** On 64-bit Linux. */
const IOCTLS: Readonly<Record<string, number>> = {
  CRIOGET: 0xc0046365,
  CIOCGSESSION: 0xc0306366,
  CIOCFSESSION: 0x40046367,
  CIOCCRYPT: 0xc0306368,
  CIOCKEY: 0xc0906369,
  CIOCASYMFEAT: 0x8004636a,
  CIOCGSESSINFO: 0xc10c636b,
  CIOCAUTHCRYPT: 0xc048636d,
  CIOCASYNCCRYPT: 0x4030636e,
  CIOCASYNCFETCH: 0x8030636f,
  CIOCCPHASH: 0x40086370,
};

/** Those whose number has the size of a structure with pointers in it. */
const WITH_POINTERS: Readonly<Record<string, string>> = {
  CIOCGSESSION: "session_op",
  CIOCCRYPT: "crypt_op",
  CIOCKEY: "crypt_kop",
  CIOCAUTHCRYPT: "crypt_auth_op",
  CIOCASYNCCRYPT: "crypt_op",
  CIOCASYNCFETCH: "crypt_op",
};

const VALUES: Readonly<Record<string, number>> = {
  ...{ COP_ENCRYPT: 0, COP_DECRYPT: 1 },
  ...{ COP_FLAG_NONE: 0, COP_FLAG_UPDATE: 1, COP_FLAG_FINAL: 2, COP_FLAG_WRITE_IV: 4 },
  ...{ COP_FLAG_NO_ZC: 8, COP_FLAG_AEAD_TLS_TYPE: 16, COP_FLAG_AEAD_SRTP_TYPE: 32 },
  ...{ COP_FLAG_RESET: 64, SIOP_FLAG_KERNEL_DRIVER_ONLY: 1 },
  ...{ CRYPTO_DES_CBC: 1, CRYPTO_3DES_CBC: 2, CRYPTO_BLF_CBC: 3, CRYPTO_CAST_CBC: 4 },
  ...{ CRYPTO_AES_CBC: 11, CRYPTO_RIJNDAEL128_CBC: 11, CRYPTO_ARC4: 12, CRYPTO_NULL: 16 },
  ...{ CRYPTO_AES_CTR: 21, CRYPTO_AES_XTS: 22, CRYPTO_AES_ECB: 23, CRYPTO_AES_CFB: 24 },
  ...{ CRYPTO_AES_OFB: 25, CRYPTO_AES_GCM: 50, CRYPTO_AES_CCM: 51, CRYPTO_CAMELLIA_CBC: 101 },
  ...{ CRYPTO_TLS11_AES_CBC_HMAC_SHA1: 108, CRYPTO_TLS12_AES_CBC_HMAC_SHA256: 109 },
  ...{ CRYPTO_MD5_HMAC: 6, CRYPTO_SHA1_HMAC: 7, CRYPTO_RIPEMD160_HMAC: 8 },
  ...{ CRYPTO_SHA2_256_HMAC: 18, CRYPTO_SHA2_384_HMAC: 19, CRYPTO_SHA2_512_HMAC: 20 },
  ...{ CRYPTO_SHA2_224_HMAC: 107, CRYPTO_MD5: 13, CRYPTO_SHA1: 14, CRYPTO_RIPEMD160: 102 },
  ...{ CRYPTO_SHA2_224: 103, CRYPTO_SHA2_256: 104, CRYPTO_SHA2_384: 105, CRYPTO_SHA2_512: 106 },
  ...{ CRYPTO_ALGORITHM_MAX: 109, CRYPTO_ALGORITHM_ALL: 110, CRYPTODEV_MAX_ALG_NAME: 64 },
  ...{ CRYPTO_CIPHER_MAX_KEY_LEN: 64, CRYPTO_HMAC_MAX_KEY_LEN: 512 },
  ...{ AALG_MAX_RESULT_LEN: 64, HASH_MAX_LEN: 64, EALG_MAX_BLOCK_LEN: 16 },
};

interface Member {
  readonly name: string;
  readonly bytes: number;
  readonly at: number;
}

interface Structure {
  readonly bytes: number;
  readonly members: readonly Member[];
}

/** A structure of the table, as machines with pointers of so many bytes have it. */
function structure(name: string, pointer: 4 | 8): Structure {
  const [size = "", text = ""] = (STRUCTURES[name] ?? "").split(": ");
  const wide = text.split(", ").map((word) => {
    const [, type = "", name = "", at = ""] = word.match(/^(\S+) (\S+) @(\d+)$/) ?? [];
    const bytes = { u16: 2, u32: 4, ptr: 8 }[type] ?? Number(type);
    return { type, name, bytes, at: Number(at) };
  });
  if (pointer === 8) return { bytes: Number(size), members: wide };
  if (name === "crypt_kop") {
    // An array, of which the table has the ends.
    const members = wide.map((member) => {
      const index = Number(member.name.match(/\[(\d)\]/)?.[1]);
      if (Number.isNaN(index)) return member;
      const at = 16 + index * 8 + (member.type === "ptr" ? 0 : 4);
      return { ...member, bytes: 4, at };
    });
    return { bytes: 80, members };
  }
  let end = 0;
  const members = wide.map(({ type, name, bytes }) => {
    const narrow = type === "ptr" ? 4 : bytes;
    const align = type.match(/^\d/) ? 1 : narrow;
    const at = Math.ceil(end / align) * align;
    end = at + narrow;
    return { name, bytes: narrow, at };
  });
  return { bytes: Math.ceil(end / 4) * 4, members };
}

/** What an ioctl's number is where pointers have so many bytes. */
function ioctlNumber(name: string, pointer: 4 | 8): number {
  const number = IOCTLS[name] ?? 0;
  const of = WITH_POINTERS[name];
  if (pointer === 8 || of === undefined) return number;
  const size = structure(of, pointer).bytes;
  return ((number & ~(0x3fff << 16)) | (size << 16)) >>> 0;
}

const DRIVER = join(ROOT, "linux-driver");
const scratch = new Scratch();
afterAll(() => scratch.remove());

/** Compiles expressions into a table that is read out of the object, which may be another machine's. */
function evaluate(prelude: string, expressions: readonly string[], compiler: string[]): number[] {
  const folder = join(scratch.path, crypto.randomUUID());
  mkdirSync(folder);
  const [source, object, table] = ["facts.c", "facts.o", "facts"].map((name) => join(folder, name));
  const text = `${prelude}
    __attribute__((section(".facts"), used))
    static const unsigned int facts[] = { ${expressions.map((e) => `(unsigned int)(${e})`).join(",\n")} };`;
  writeFileSync(source as string, text);
  const [command = "gcc", ...flags] = compiler;
  const language = command === "g++" ? "c++" : "c";
  run([command, "-x", language, ...flags, "-c", "-o", `${object}`, `${source}`]);
  run(["objcopy", "-O", "binary", "-j", ".facts", `${object}`, `${table}`]);
  const bytes = readFileSync(table as string);
  return Array.from({ length: bytes.length / 4 }, (_, i) => bytes.readUInt32LE(i * 4));
}

interface Copy {
  /** Its text, to see what it has. */
  readonly text: string;
  /** What includes it. */
  readonly prelude: string;
  readonly compiler: readonly string[];
  readonly pointer?: 4 | 8;
  /** What its names begin with, in lower case. */
  readonly prefix?: string;
  /** What it calls members that have other names in the table. */
  readonly renamed?: Readonly<Record<string, string>>;
}

const escaped = (text: string) => text.replaceAll(/[[\].]/g, "\\$&");

/** Holds what a copy has of the table against it. @returns the names that it has */
function compare(copy: Copy): string[] {
  const { text, prelude, compiler, pointer = 8, prefix = "", renamed = {} } = copy;
  const wanted: [what: string, expression: string, is: number][] = [];
  const has = (pattern: string) => new RegExp(pattern, "m").test(text);
  const found: string[] = [];
  for (const name of Object.keys(STRUCTURES)) {
    if (!has(`^struct ${prefix}${name} \\{`)) continue;
    found.push(name);
    const { bytes, members } = structure(name, pointer);
    const type = `struct ${prefix}${name}`;
    wanted.push([name, `sizeof(${type})`, bytes]);
    for (const member of members) {
      const place = renamed[member.name] ?? member.name;
      wanted.push([`${name}.${place} @`, `__builtin_offsetof(${type}, ${place})`, member.at]);
      wanted.push([`${name}.${place}`, `sizeof(((${type} *)0)->${place})`, member.bytes]);
    }
  }
  const numbers = Object.keys(IOCTLS).map((name) => [name, ioctlNumber(name, pointer)] as const);
  for (const [name, value] of [...numbers, ...Object.entries(VALUES)]) {
    const own = prefix.toUpperCase() + name;
    if (!has(`^#define ${escaped(own)}\\s`)) continue;
    found.push(name);
    wanted.push([name, own, value]);
  }
  const values = evaluate(
    prelude,
    wanted.map(([, expression]) => expression),
    [...compiler],
  );
  expect(Object.fromEntries(wanted.map(([what], i) => [what, values[i]]))).toEqual(
    Object.fromEntries(wanted.map(([what, , is]) => [what, is])),
  );
  return found;
}

const EVERYTHING = [...Object.keys(STRUCTURES), ...Object.keys(IOCTLS), ...Object.keys(VALUES)];
const STRICT = ["-Wall", "-Wextra", "-Wpedantic", "-Werror"];

const header: Omit<Copy, "compiler"> = {
  text: readFileSync(join(DRIVER, "include/crypto/cryptodev.h"), "utf8"),
  prelude: "#include <crypto/cryptodev.h>",
};
const include = `-I${DRIVER}/include`;

const needing = (needs: string, name: string) =>
  isThere({ needs, package: name }) ? test : leftOut(`needs apt-get install ${name}`);
const with32 = needing("/usr/lib32/libc.a", "gcc-multilib");
const withCpp = needing("g++", "g++");

/** A copy that headers.sh makes now. */
function made(kind: string): string {
  const file = join(scratch.path, kind, "cryptodev_abi.h");
  run(["sh", join(ROOT, "qemu-patch/headers.sh"), kind, file]);
  return file;
}

describe("the ABI's facts are what is seen in", () => {
  test("the header for programs, in C", () => {
    for (const standard of ["-std=c99", "-std=gnu11"]) {
      const compiler = ["gcc", standard, include, ...STRICT];
      expect(compare({ ...header, compiler }).sort()).toEqual([...EVERYTHING].sort());
    }
  });

  withCpp("the header for programs, in C++", async () => {
    compare({ ...header, compiler: ["g++", "-std=c++17", include, ...STRICT] });
  });

  with32("the header for 32-bit programs", async () => {
    compare({ ...header, pointer: 4, compiler: ["gcc", "-m32", include, ...STRICT] });
  });

  test("the driver's structures for 32-bit programs", () => {
    // What is the kernel's, as far as the header asks for it
    const kernel = join(scratch.path, "kernel/linux");
    mkdirSync(kernel, { recursive: true });
    writeFileSync(join(kernel, "compat.h"), "typedef __u32 compat_uptr_t;\n");
    const found = compare({
      text: readFileSync(join(DRIVER, "cryptodev_abi.h"), "utf8"),
      prelude: `#include "${DRIVER}/cryptodev_abi.h"`,
      compiler: ["gcc", "-DCONFIG_COMPAT", include, `-I${scratch.path}/kernel`],
      pointer: 4,
      prefix: "compat_",
    });
    const asymmetric = ["crypt_kop", "CIOCKEY"];
    const different = [...new Set(Object.values(WITH_POINTERS)), ...Object.keys(WITH_POINTERS)];
    expect(found.sort()).toEqual(different.filter((name) => !asymmetric.includes(name)).sort());
  });

  test("what the host's backend is built with", () => {
    const file = made("host");
    const text = readFileSync(file, "utf8");
    expect(text).not.toContain("__u");
    const compiler = ["gcc", ...STRICT];
    const found = compare({ text, prelude: `#include "${file}"`, compiler });
    expect(found.sort()).toEqual([...EVERYTHING].sort());
  });

  test("what is compiled at start-up, and is what headers.sh makes", () => {
    const file = join(ROOT, "cshim/cryptodev_abi.h");
    const text = readFileSync(file, "utf8");
    // sh qemu-patch/headers.sh cshim cshim/cryptodev_abi.h
    expect(text).toBe(readFileSync(made("cshim"), "utf8"));
    expect(text).not.toContain("#include");
    const found = compare({ text, prelude: `#include "${file}"`, compiler: ["gcc", ...STRICT] });
    expect(found.sort()).toEqual([...EVERYTHING].sort());
  });

  test("what the guest's test programs know by themselves", () => {
    const file = join(ROOT, "test/vm/guest/cryptodev.h");
    const renamed = {
      "cipher_info.cra_name": "cipher",
      "cipher_info.cra_driver_name": "cipher_driver",
      "hash_info.cra_name": "hash",
      "hash_info.cra_driver_name": "hash_driver",
    };
    const text = readFileSync(file, "utf8");
    const found = compare({ text, prelude: `#include "${file}"`, compiler: ["gcc"], renamed });
    expect(found).toContain("crypt_op");
    // Nothing in it that is in no table.
    const defined = [...text.matchAll(/^(?:#define|struct) (\w+)(?= )/gm)].map(([, name]) => name);
    expect(defined.filter((name) => !found.includes(name ?? ""))).toEqual([]);
  });
});

test("the header leaves nothing behind but its names", () => {
  const macros = run([
    ...["gcc", "-E", "-dM", "-x", "c", include, "-include", "crypto/cryptodev.h", "/dev/null"],
  ]);
  const before = run([
    ...["gcc", "-E", "-dM", "-x", "c", "-include", "linux/ioctl.h", "-include", "linux/types.h"],
    "/dev/null",
  ]).split("\n");
  const ours = macros.split("\n").filter((line) => !before.includes(line));
  const names = ours.map((line) => line.match(/^#define (\w+)/)?.[1] ?? "");
  const foreign = names.filter(
    (name) =>
      !/^(CRYPTO(DEV)?_|COP_|C(IOC|RIO)|CR[KF]_|SIOP_|[AE]ALG_MAX_|HASH_MAX_LEN$)/.test(name),
  );
  expect(foreign.filter((name) => name !== "_CRYPTO_CRYPTODEV_H" && name !== "")).toEqual([]);
});
