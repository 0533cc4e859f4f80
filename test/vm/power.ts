/**
 * A relay in a guest whose power can be cut: QEMU is killed, and the disk then has what the guest made
 * it flush, and of the rest what chance leaves.
 *
 * A file of the host's as disk would be too kind: what QEMU wrote there is in the host's page cache and
 * survives QEMU, asked to be flushed or not. So the disk is here, as an NBD server with a cache.
 */
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync } from "node:fs";
import { createServer, type Server, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { run, stockKernel, stockQemu } from "./assets.ts";
import { Guest } from "./guest.ts";

/** What a disk writes as a whole or not at all. */
const SECTOR = 512;
const DISK_BYTES = 128 << 20;
/** How long it takes to flush its cache at most, in milliseconds: most cuts then come in the middle of that. */
const GREATEST_FLUSH_MS = 16;

/** What is left of writes that were not flushed: none or all of them, some of them, or some sectors of them. */
export const FATES = ["none", "all", "writes", "sectors"] as const;
export type Fate = (typeof FATES)[number];

interface Version {
  /** Which write it was part of. */
  readonly write: number;
  readonly bytes: Uint8Array;
}

/** A disk with a volatile cache of any size, which keeps each version of what it was told to write. */
class Platters {
  /** What is there when the power is cut. */
  readonly #stable: Uint8Array;
  /** What the guest reads. */
  readonly #current: Uint8Array;
  /** What is in the cache only, by the sector's number. */
  readonly #cached = new Map<number, Version[]>();
  #writes = 0;
  #cuts = 0;
  flushes = 0;

  constructor(content: Uint8Array) {
    // Not slice(): a Buffer's is a view.
    this.#stable = new Uint8Array(content);
    this.#current = new Uint8Array(content);
  }

  get length(): number {
    return this.#stable.length;
  }

  read(offset: number, length: number): Uint8Array {
    return this.#current.subarray(offset, offset + length);
  }

  write(offset: number, bytes: Uint8Array, throughCache: boolean): void {
    this.#current.set(bytes, offset);
    this.#writes += 1;
    for (let at = 0; at < bytes.length; at += SECTOR) {
      const sector = (offset + at) / SECTOR;
      const version = {
        write: this.#writes,
        bytes: new Uint8Array(bytes.subarray(at, at + SECTOR)),
      };
      const versions = this.#cached.get(sector);
      if (throughCache) this.#settle(sector, version);
      else if (versions === undefined) this.#cached.set(sector, [version]);
      else versions.push(version);
    }
  }

  /**
   * Takes a while, as disks do, in which the power may be cut: nothing is sure until it is done, and
   * what was written meanwhile is not when it is.
   */
  flush(done: () => void): void {
    const [before, powerOn] = [this.#writes, this.#cuts];
    setTimeout(() => {
      if (this.#cuts !== powerOn) return;
      this.flushes += 1;
      // A copy: what is put back would be met again, for ever.
      for (const [sector, versions] of [...this.#cached]) {
        const later = versions.filter(({ write }) => write > before);
        this.#settle(sector, versions[versions.length - later.length - 1]);
        if (later.length > 0) this.#cached.set(sector, later);
      }
      done();
    }, Math.random() * GREATEST_FLUSH_MS);
  }

  #settle(sector: number, version: Version | undefined): void {
    if (version !== undefined) this.#stable.set(version.bytes, sector * SECTOR);
    this.#cached.delete(sector);
  }

  /** The power is gone. @returns how many sectors lost what was written last */
  cut(fate: Fate): number {
    const share = Math.random();
    const kept = Array.from({ length: this.#writes + 1 }, () => Math.random() < share);
    const survives = ({ write }: Version): boolean => {
      if (fate === "writes") return kept[write] === true;
      return fate === "all" || (fate === "sectors" && Math.random() < share);
    };
    let lost = 0;
    for (const [sector, versions] of this.#cached) {
      const survivor = versions.findLast(survives);
      if (survivor !== versions.at(-1)) lost += 1;
      this.#settle(sector, survivor);
    }
    this.#current.set(this.#stable);
    this.#writes = 0;
    this.#cuts += 1;
    return lost;
  }
}

/** Of the NBD protocol (github.com/NetworkBlockDevice/nbd, doc/proto.md) what QEMU needs. */
const NBD = {
  MAGIC: Buffer.from("NBDMAGIC"),
  OPTION_MAGIC: Buffer.from("IHAVEOPT"),
  OPTION_REPLY_MAGIC: 0x3e889045565a9n,
  REQUEST_MAGIC: 0x25609513,
  REPLY_MAGIC: 0x67446698,
  /** The handshake's flags: options are answered, and no zeroes follow. */
  FIXED_NEWSTYLE: 1,
  NO_ZEROES: 2,
  OPTION_GO: 7,
  REPLY_ACK: 1,
  REPLY_INFO: 3,
  REPLY_UNSUPPORTED: 0x80000001,
  INFO_EXPORT: 0,
  INFO_BLOCK_SIZE: 3,
  /** The disk's flags: there are flags, FLUSH and FUA are known. */
  DISK_FLAGS: 1 | 4 | 8,
  READ: 0,
  WRITE: 1,
  DISCONNECT: 2,
  FLUSH: 3,
  FUA: 1,
} as const;

const GREATEST_REQUEST = 32 << 20;

const u16 = (value: number) => [value >> 8, value & 0xff];
function u32(value: number): number[] {
  return [...u16(value >>> 16), ...u16(value & 0xffff)];
}
function u64(value: bigint): number[] {
  return [...u32(Number(value >> 32n)), ...u32(Number(value & 0xffffffffn))];
}

/** QEMU's connection to the disk. */
class NbdConnection {
  readonly #socket: Socket;
  readonly #disk: Platters;
  #received: Buffer = Buffer.alloc(0);
  /** Takes one message if it is there as a whole: how many bytes it had. */
  #step: () => number;

  constructor(socket: Socket, disk: Platters) {
    this.#socket = socket;
    this.#disk = disk;
    this.#step = this.#clientFlags;
    socket.on("data", (chunk) => this.#take(Buffer.from(chunk)));
    // QEMU is killed in the middle of anything.
    socket.on("error", () => undefined);
    const flags = u16(NBD.FIXED_NEWSTYLE | NBD.NO_ZEROES);
    this.#send(NBD.MAGIC, NBD.OPTION_MAGIC, flags);
  }

  #send(...parts: (Uint8Array | number[])[]): void {
    this.#socket.write(Buffer.concat(parts.map((part) => new Uint8Array(part))));
  }

  #take(chunk: Buffer): void {
    this.#received = this.#received.length === 0 ? chunk : Buffer.concat([this.#received, chunk]);
    for (;;) {
      const taken = this.#step();
      if (taken === 0) return;
      this.#received = this.#received.subarray(taken);
    }
  }

  readonly #clientFlags = (): number => {
    if (this.#received.length < 4) return 0;
    this.#step = this.#option;
    return 4;
  };

  readonly #option = (): number => {
    const message = this.#received;
    if (message.length < 16 || message.length < 16 + message.readUInt32BE(12)) return 0;
    const option = message.readUInt32BE(8);
    if (option === NBD.OPTION_GO) {
      const size = u64(BigInt(this.#disk.length));
      const sizes = [SECTOR, 4096, GREATEST_REQUEST].flatMap(u32);
      const facts = [...u16(NBD.INFO_EXPORT), ...size, ...u16(NBD.DISK_FLAGS)];
      this.#answer(option, NBD.REPLY_INFO, facts);
      this.#answer(option, NBD.REPLY_INFO, [...u16(NBD.INFO_BLOCK_SIZE), ...sizes]);
      this.#answer(option, NBD.REPLY_ACK, []);
      this.#step = this.#request;
    } else {
      this.#answer(option, NBD.REPLY_UNSUPPORTED, []);
    }
    return 16 + message.readUInt32BE(12);
  };

  #answer(option: number, type: number, data: number[]): void {
    this.#send(u64(NBD.OPTION_REPLY_MAGIC), u32(option), u32(type), u32(data.length), data);
  }

  readonly #request = (): number => {
    const message = this.#received;
    if (message.length < 28) return 0;
    if (message.readUInt32BE(0) !== NBD.REQUEST_MAGIC) throw new Error("no NBD request");
    const [flags, type] = [message.readUInt16BE(4), message.readUInt16BE(6)];
    const [offset, length] = [Number(message.readBigUInt64BE(16)), message.readUInt32BE(24)];
    const size = type === NBD.WRITE ? 28 + length : 28;
    if (message.length < size) return 0;
    const cookie = new Uint8Array(message.subarray(8, 16));
    const reply = (data: Uint8Array | number[] = []) =>
      this.#send(u32(NBD.REPLY_MAGIC), u32(0), cookie, data);
    if (type === NBD.READ) reply(this.#disk.read(offset, length));
    else if (type === NBD.WRITE) {
      this.#disk.write(offset, message.subarray(28, size), (flags & NBD.FUA) !== 0);
      reply();
    } else if (type === NBD.FLUSH) this.#disk.flush(reply);
    else if (type === NBD.DISCONNECT) this.#socket.end();
    else throw new Error(`NBD request of type ${type}`);
    return size;
  };
}

export interface RelayGuestOptions {
  /** The relay's executable. */
  readonly program: string;
  readonly fsync: "always" | "second" | "never";
  /** Of the file system, besides the usual ones. */
  readonly mountOptions?: string;
}

/** An ext4 file system with nothing in it. */
function emptyFileSystem(): Uint8Array {
  // In memory where that is possible: mkfs syncs, which takes a minute where others write much.
  const folder = mkdtempSync(join(existsSync("/dev/shm") ? "/dev/shm" : tmpdir(), "chat-power-"));
  try {
    const image = join(folder, "image");
    // All of it at once: the kernel would do it in the background, among what is tested.
    const features = ["-E", "lazy_itable_init=0,lazy_journal_init=0"];
    run(["/usr/sbin/mkfs.ext4", "-q", "-F", ...features, image, `${DISK_BYTES >> 10}k`]);
    return readFileSync(image);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** How long a relay may take to listen after the guest has booted, in milliseconds. */
const START_MS = 120_000;
const RELAY_PORT = 35_001;

/** A relay's machine: it can be switched on, and its power be cut, again and again. */
export class RelayGuest {
  readonly #options: RelayGuestOptions;
  readonly #folder: string;
  readonly #disk: Platters;
  readonly #server: Server;
  /** Looked up once: apt is asked for it, which takes a while. */
  readonly #machine = { kernel: stockKernel(), emulator: stockQemu() };
  #connected: Socket | undefined;
  #guest: Guest | undefined;

  private constructor(options: RelayGuestOptions, folder: string, disk: Platters) {
    this.#options = options;
    this.#folder = folder;
    this.#disk = disk;
    this.#server = createServer((socket) => {
      this.#connected = socket;
      new NbdConnection(socket, disk);
    });
  }

  /** A machine that is off, and its disk's file system empty. */
  static async create(options: RelayGuestOptions): Promise<RelayGuest> {
    const folder = mkdtempSync(join(tmpdir(), "chat-power-"));
    const disk = new Platters(emptyFileSystem());
    const made = new RelayGuest(options, folder, disk);
    await new Promise<void>((resolve) => made.#server.listen(join(folder, "disk"), resolve));
    return made;
  }

  /** How often the guest has asked the disk to flush its cache. */
  get flushes(): number {
    return this.#disk.flushes;
  }

  /** Boots, and starts the relay. @returns the port of this machine that leads to it */
  async on(): Promise<number> {
    const { program, fsync, mountOptions } = this.#options;
    const nbd = `driver=nbd,node-name=disk,server.type=unix,server.path=${this.#folder}/disk`;
    this.#guest = await Guest.boot({
      // Ours has no disks.
      ...this.#machine,
      withoutDriver: true,
      cpus: 1,
      modules: ["drivers/block/virtio_blk"],
      // What copies the relay, and brings the libraries that both need.
      programs: { "usr/bin/dd": "/usr/bin/dd" },
      devices: [
        ...["-blockdev", nbd],
        ...["-device", "virtio-blk-pci,drive=disk,write-cache=on,disable-legacy=on"],
        // A disk that is nothing but the program: an initramfs of that size takes seconds of each boot.
        ...["-blockdev", `driver=file,node-name=relay,read-only=on,filename=${program}`],
        ...["-device", "virtio-blk-pci,drive=relay,disable-legacy=on"],
      ],
    });
    const { size } = statSync(program);
    await this.#inside(
      `/usr/bin/dd if=/dev/vdb of=/bin/chat-server bs=1M iflag=count_bytes count=${size} &&
      chmod +x /bin/chat-server`,
    );
    await this.#inside(
      `mkdir /data && mount -t ext4 -o rw${mountOptions ? `,${mountOptions}` : ""} /dev/vda /data`,
    );
    const words = ["--host", "0.0.0.0", "--port", RELAY_PORT, "--data", "/data/relay"];
    const limits = ["--rate", 0, "--byte-rate", 0, "--ring-bytes", "256K", "--max-frame", 4096];
    await this.#inside(
      `chat-server ${[...words, ...limits].join(" ")} --fsync ${fsync} > /tmp/relay.log 2>&1 &
      relay=$!
      until grep -q listening /tmp/relay.log; do
        kill -0 $relay || { cat /tmp/relay.log; exit 1; }
        usleep 20000
      done`,
    );
    await this.#monitor(`hostfwd_add net tcp:127.0.0.1:0-10.0.2.15:${RELAY_PORT}`);
    const connections = await this.#monitor("info usernet");
    const port = Number(connections.match(/HOST_FORWARD\]\s+\d+\s+127\.0\.0\.1\s+(\d+)/)?.[1]);
    if (!(port > 0)) throw new Error(`QEMU forwards no port: ${connections}`);
    return port;
  }

  /** What the kernel says of damage, and the relay of problems. */
  async complaints(): Promise<string> {
    const kernel = "dmesg | grep -E 'EXT4-fs (error|warning)|I/O error|JBD2: |BUG|WARNING'";
    return await this.#inside(`${kernel}; grep ' error ' /tmp/relay.log; true`);
  }

  async #inside(script: string): Promise<string> {
    const { code, output } = await (this.#guest as Guest).run(script, START_MS);
    if (code !== 0) throw new Error(`in the guest: ${output}\n${this.#guest?.console}`);
    return output;
  }

  async #monitor(line: string): Promise<string> {
    return String(
      await (this.#guest as Guest).qmp("human-monitor-command", { "command-line": line }),
    );
  }

  /** Cuts the power in the middle of whatever goes on. @returns how many sectors the disk lost */
  async cut(fate: Fate): Promise<number> {
    const guest = this.#guest as Guest;
    process.kill(guest.pid, "SIGKILL");
    await guest.stop();
    // What QEMU had sent is with the disk.
    const socket = this.#connected;
    if (socket !== undefined && !socket.destroyed) {
      await new Promise<void>((resolve) => socket.once("close", () => resolve()));
    }
    return this.#disk.cut(fate);
  }

  async remove(): Promise<void> {
    await this.#guest?.stop();
    this.#server.close();
    rmSync(this.#folder, { recursive: true, force: true });
  }
}
