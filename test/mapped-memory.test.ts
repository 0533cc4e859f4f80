/** Memory that a device gives by mmap(): where it comes from, what it is used for, and who may write to it. */
import { afterAll, describe, expect, test } from "bun:test";
import { closeSync, ftruncateSync, openSync, readFileSync, writeFileSync } from "node:fs";
import { constants } from "node:os";
import { join } from "node:path";
import { FallbackBackend } from "../src/crypto/fallback.ts";
import { agree, selfTest } from "../src/crypto/selftest.ts";
import { loadShim } from "../src/crypto/shim.ts";
import { software } from "../src/crypto/software.ts";
import { OpeningSessions, PAYLOAD_AT, SealingSession } from "../src/protocol/envelope.ts";
import { decodePayload, encodePayload } from "../src/protocol/payload.ts";
import { ROOT } from "../src/setup/build.ts";
import { FakeDevice } from "./support/fake-shim.ts";
import { Scratch } from "./support/programs.ts";

const { EFAULT, EINVAL, EIO, ENODEV, ENOMEM } = constants.errno;

const scratch = new Scratch();
afterAll(() => scratch.remove());

const KEY = new Uint8Array(32).fill(1);
const ROOM = new Uint8Array(32).fill(2);
const KEYS = [new Uint8Array(32).fill(3), new Uint8Array(32).fill(4)] as const;
const SIZES = [16, 128, 256, 4096, 16_368, 16_384, 20_016, 32_768, 65_360];
/** Long enough for mapped memory. */
const LONG = "long ".repeat(4000);

const payload = (text: string) => ({
  kind: "text" as const,
  time: 1,
  sender: new Uint8Array(16),
  number: 1,
  nick: "ann",
  text,
});
const sealed = (session: SealingSession, text: string) =>
  session.seal((buffer, at) => encodePayload(payload(text), buffer, at));

function textOf(opening: OpeningSessions, envelope: Uint8Array, before = () => {}): string {
  const opened = opening.open(envelope);
  before();
  if (opened.verdict !== "ok") return opened.verdict;
  return decodePayload(opened.buffer, PAYLOAD_AT, opened.end).text;
}

describe("the shim's map and unmap", () => {
  const BYTES = 65_536;

  test("map an open file, and give it back", () => {
    const path = join(scratch.path, "memory");
    writeFileSync(path, new Uint8Array(BYTES));
    const fd = openSync(path, "r+");
    const at = new BigUint64Array(1);
    const { shim_map, shim_unmap } = loadShim();
    expect(shim_map(fd, BYTES, at)).toBe(0);
    closeSync(fd);
    const mapping = new RegExp(`^${at[0]?.toString(16)}-.* rw-s .*/memory$`, "m");
    expect(readFileSync("/proc/self/maps", "utf8")).toMatch(mapping);
    expect(shim_unmap(at[0] as bigint, BYTES)).toBe(0);
    expect(readFileSync("/proc/self/maps", "utf8")).not.toMatch(mapping);
  });

  test("say why not, also where the memory would be none that can be touched", () => {
    const at = new BigUint64Array(1);
    const { shim_map } = loadShim();
    const path = join(scratch.path, "short");
    const short = openSync(path, "w+");
    const node = openSync("/dev/null", "r+");
    expect([shim_map(node, BYTES, at), shim_map(short, BYTES, at)]).toEqual([-ENODEV, -EFAULT]);
    ftruncateSync(short, BYTES - 4096);
    expect([shim_map(short, BYTES, at), at[0]]).toEqual([-EFAULT, 0n]);
    expect(readFileSync("/proc/self/maps", "utf8")).not.toContain(path);
  });

  test.each(["", "-DSHIM_USES_LIBC"])("do the same when a C compiler makes them: %s", (flag) => {
    const [source, program] = [join(scratch.path, "map.c"), join(scratch.path, `map${flag}`)];
    writeFileSync(
      source,
      `#define _GNU_SOURCE
       #include <errno.h>
       #include <stdio.h>
       #include <sys/ioctl.h>
       #include <unistd.h>
       int open(const char *, int, ...);
       void *mmap(void *, unsigned long, int, int, int, long);
       int munmap(void *, unsigned long);
       int madvise(void *, unsigned long, int);
       int memfd_create(const char *, unsigned);
       #include "${join(ROOT, "cshim/cryptodev.c")}"
       int main(void) {
         void *functions[] = { open, close, ioctl, mmap, munmap, madvise, __errno_location };
         unsigned long at = 0;
         int fd = memfd_create("memory", 0), r;
         shim_bind(functions);
         printf("%d ", shim_map(fd, ${BYTES}, &at));
         if (ftruncate(fd, ${BYTES})) return 1;
         r = shim_map(fd, ${BYTES}, &at);
         *(volatile char *)(at + ${BYTES - 1}) = 1;
         printf("%d %d %d %d\\n", r, shim_unmap(at, ${BYTES}), shim_map(shim_open("/dev/null"), ${BYTES}, &at),
                shim_open("/no/such/file"));
         return 0;
       }`,
    );
    const flags = ["-Wall", "-Wextra", "-Werror", ...(flag === "" ? [] : [flag])];
    const compiled = Bun.spawnSync(["gcc", ...flags, "-o", program, source]);
    expect(compiled.stderr.toString()).toBe("");
    expect(Bun.spawnSync([program]).stdout.toString()).toBe(
      `-${EFAULT} 0 0 -${ENODEV} -${constants.errno.ENOENT}\n`,
    );
  });
});

describe("a device that gives memory", () => {
  test("works on messages of 16 KiB and more there, and answers as software does at every size", () => {
    const device = new FakeDevice();
    selfTest(device.backend);
    const [hard, soft] = [device.backend.open(...KEYS), software.open(...KEYS)];
    for (const size of SIZES) {
      device.calls.length = 0;
      expect(agree(hard, soft, size)).toBe(true);
      expect(device.calls.map((call) => call.mapped)).toEqual(Array(4).fill(size >= 16_384));
    }
    // More than there is room for is done where it lies.
    device.calls.length = 0;
    expect(agree(hard, soft, 131_072)).toBe(true);
    expect(device.calls.some((call) => call.mapped)).toBe(false);
    expect(device.maps).toBe(1);
  });

  test.each([ENODEV, EINVAL, ENOMEM, EFAULT])("or none (errno %d) works as before", (errno) => {
    const device = new FakeDevice(errno);
    selfTest(device.backend);
    const [hard, soft] = [device.backend.open(...KEYS), software.open(...KEYS)];
    for (const size of SIZES) expect(agree(hard, soft, size)).toBe(true);
    expect(device.calls.some((call) => call.mapped)).toBe(false);
    device.backend.close();
    expect(device.unmaps).toBe(0);
  });

  test("gets it back once and zeroed, when nothing can use it any more", () => {
    const device = new FakeDevice();
    const opening = new OpeningSessions(device.backend, KEY, ROOM);
    expect(textOf(opening, sealed(new SealingSession(software, KEY, ROOM), LONG))).toBe(LONG);
    expect(device.memory.some((byte) => byte !== 0)).toBe(true);
    device.backend.close();
    device.backend.close();
    opening.close();
    expect([device.maps, device.unmaps]).toEqual([1, 1]);
    expect(device.memory.every((byte) => byte === 0)).toBe(true);
    Bun.gc(true);
  });

  test("and fails in the middle of a message: it is done again in software from what it was", () => {
    for (const failing of ["encrypt", "mac"] as const) {
      const device = new FakeDevice();
      const told: string[] = [];
      const backend = new FallbackBackend(device.backend, software, (why) => told.push(why));
      const sealing = new SealingSession(backend, KEY, ROOM);
      device.after = (call) => {
        if (call !== failing) return 0;
        device.memory.fill(0xff);
        return EIO;
      };
      const opening = new OpeningSessions(software, KEY, ROOM);
      expect(textOf(opening, sealed(sealing, LONG))).toBe(LONG);
      expect(textOf(opening, sealed(sealing, "and on"))).toBe("and on");
      expect([told.length, device.unmaps]).toEqual([1, 1]);
    }
    for (const failing of ["mac", "decrypt"] as const) {
      const device = new FakeDevice();
      const backend = new FallbackBackend(device.backend, software, () => {});
      const opening = new OpeningSessions(backend, KEY, ROOM);
      device.after = (call) => (call === failing ? EIO : 0);
      const sealing = new SealingSession(software, KEY, ROOM);
      expect(textOf(opening, sealed(sealing, LONG))).toBe(LONG);
      expect(textOf(opening, sealed(sealing, LONG))).toBe(LONG);
      expect(device.unmaps).toBe(1);
    }
  });
});

describe("a device that writes to that memory when it should not", () => {
  test("can't change what has been opened or sealed", () => {
    const device = new FakeDevice();
    const opening = new OpeningSessions(device.backend, KEY, ROOM);
    const envelope = sealed(new SealingSession(software, KEY, ROOM), LONG);
    expect(textOf(opening, envelope, () => device.memory.fill(0xff))).toBe(LONG);
    const mine = sealed(new SealingSession(device.backend, KEY, ROOM), LONG);
    device.memory.fill(0xff);
    expect(textOf(new OpeningSessions(software, KEY, ROOM), mine)).toBe(LONG);
  });

  test("can't make an old envelope new, or one of another session", () => {
    const device = new FakeDevice();
    const opening = new OpeningSessions(device.backend, KEY, ROOM);
    const sealing = new SealingSession(software, KEY, ROOM);
    const [a, b] = [LONG, LONG].map((text) => sealed(sealing, text).slice()) as [
      Uint8Array,
      Uint8Array,
    ];
    expect([textOf(opening, a), textOf(opening, b)]).toEqual([LONG, LONG]);
    // Label, room, version, salt and counter: all that lies before the IV.
    device.after = (call) => {
      if (call === "mac") device.memory.fill(9, 0, PAYLOAD_AT - 16);
      return 0;
    };
    expect([textOf(opening, a), textOf(opening, b)]).toEqual(["replayed", "replayed"]);
  });

  test("can't have a forged envelope taken by writing the tag that would be right", () => {
    const device = new FakeDevice();
    const opening = new OpeningSessions(device.backend, KEY, ROOM);
    const envelope = sealed(new SealingSession(software, KEY, ROOM), LONG).slice();
    envelope[100] = (envelope[100] as number) ^ 1;
    device.after = (call) => {
      // Whatever lies where a tag would: nothing of it is compared.
      if (call === "mac") device.memory.fill(0);
      return 0;
    };
    expect(textOf(opening, envelope)).toBe("forged");
    expect(device.calls.length).toBe(1);
  });

  test("between MAC and decryption gets another plaintext, as it could say anyway, and no more", () => {
    const device = new FakeDevice();
    const opening = new OpeningSessions(device.backend, KEY, ROOM);
    const sealing = new SealingSession(software, KEY, ROOM);
    device.after = (call) => {
      if (call === "mac") device.memory.fill(0xff, PAYLOAD_AT);
      return 0;
    };
    const opened = opening.open(sealed(sealing, LONG));
    expect(opened.verdict === "forged" || opened.verdict === "ok").toBe(true);
    device.after = () => 0;
    expect(textOf(opening, sealed(sealing, LONG))).toBe(LONG);
  });
});
