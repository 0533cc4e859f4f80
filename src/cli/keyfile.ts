/** Keys on disk, a room's or a relay's: 64 hexadecimal digits in a file that only its owner can read. */
import { closeSync, fstatSync, fsyncSync, mkdirSync, openSync, readSync, writeSync } from "node:fs";
import { homedir } from "node:os";
import { dirname, join } from "node:path";
import { ROOM_KEY_BYTES } from "../protocol/keys.ts";
import { EXIT, ExitError } from "./exit.ts";

/** Where the key lies that is used when none is named. */
export function defaultKeyFile(): string {
  const config = process.env.XDG_CONFIG_HOME || join(homedir(), ".config");
  return join(config, "virtio-cryptodev-chat", "room.key");
}

/** A new room key. */
export function newRoomKey(): Uint8Array {
  return crypto.getRandomValues(new Uint8Array(ROOM_KEY_BYTES));
}

/**
 * Writes a key to a new file of mode 0600, and makes its folder (0700) if there is none.
 * @throws ExitError CANTCREAT; a file that exists is never touched
 */
export function writeKeyFile(path: string, key: Uint8Array): void {
  let fd: number;
  try {
    mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
    fd = openSync(path, "wx", 0o600);
  } catch (error) {
    const exists = errnoOf(error) === "EEXIST";
    const why = exists
      ? `${path} exists already and is not overwritten: move it away, or name another with --key-file`
      : `can't create ${path} (${errnoOf(error)})`;
    throw new ExitError(EXIT.CANTCREAT, why);
  }
  const text = Buffer.from(`${Buffer.from(key).toString("hex")}\n`);
  try {
    writeSync(fd, text);
    fsyncSync(fd);
  } finally {
    text.fill(0);
    closeSync(fd);
  }
}

/**
 * Reads a key file.
 * @param absent what to do when there is none
 * @throws ExitError NOINPUT, NOPERM (others may read it) or DATAERR
 */
export function readKeyFile(
  path: string,
  absent = 'make one with "chat-client keygen", or take the one of an invite with "chat-client accept"',
): Uint8Array {
  let fd: number;
  try {
    fd = openSync(path, "r");
  } catch (error) {
    const code = errnoOf(error);
    const hint = code === "ENOENT" ? `there is none: ${absent}` : `can't be read (${code})`;
    throw new ExitError(EXIT.NOINPUT, `key file ${path}: ${hint}`);
  }
  const text = Buffer.alloc(128);
  try {
    const stat = fstatSync(fd);
    if (stat.isFile() && (stat.mode & 0o077) !== 0) {
      throw new ExitError(
        EXIT.NOPERM,
        `key file ${path} can be read by others (mode ${(stat.mode & 0o777).toString(8)}): chmod 600 ${path}`,
      );
    }
    const bytes = readSync(fd, text, 0, text.length, null);
    const digits = text.toString("latin1", 0, bytes).trimEnd();
    if (!/^[0-9a-f]{64}$/i.test(digits)) {
      throw new ExitError(EXIT.DATAERR, `key file ${path} does not hold 64 hexadecimal digits`);
    }
    return new Uint8Array(Buffer.from(digits, "hex"));
  } finally {
    text.fill(0);
    closeSync(fd);
  }
}

function errnoOf(error: unknown): string {
  return error instanceof Error && "code" in error ? String(error.code) : String(error);
}
