/** Secrets from people: asked for without echo, or read from a descriptor; never from arguments. */
import { readSync } from "node:fs";
import { EXIT, ExitError } from "../cli/exit.ts";

/** Longest secret, in bytes. */
const MAX_BYTES = 4096;

const ENTER = new Set([0x0a, 0x0d]);
const INTERRUPTS = new Set([0x03, 0x04]);
const ERASES = new Set([0x08, 0x7f]);
const KILL_LINE = 0x15;

/**
 * Asks on the terminal and reads a line that is not echoed.
 * @throws ExitError USAGE where there is no terminal, or nothing was typed
 */
export function askSecret(question: string): Promise<string> {
  const { stdin, stderr } = process;
  if (!stdin.isTTY) {
    throw new ExitError(
      EXIT.USAGE,
      "there is no terminal to ask for the passphrase on: use --passphrase-fd",
    );
  }
  stderr.write(question);
  stdin.setRawMode(true);
  stdin.resume();
  return new Promise((resolve, reject) => {
    let typed: number[] = [];
    const finish = (action: () => void) => {
      stdin.off("data", onData);
      stdin.setRawMode(false);
      stdin.pause();
      stderr.write("\n");
      action();
    };
    const onData = (chunk: Buffer) => {
      for (const byte of chunk) {
        if (ENTER.has(byte)) return finish(() => resolve(Buffer.from(typed).toString()));
        if (INTERRUPTS.has(byte)) {
          return finish(() => reject(new ExitError(EXIT.USAGE, "no passphrase given")));
        }
        if (byte === KILL_LINE) typed = [];
        else if (ERASES.has(byte)) typed = eraseCharacter(typed);
        else if (typed.length < MAX_BYTES) typed.push(byte);
      }
    };
    stdin.on("data", onData);
  });
}

/** Without its last UTF-8 character. */
function eraseCharacter(bytes: number[]): number[] {
  let end = bytes.length - 1;
  while (end > 0 && ((bytes[end] as number) & 0xc0) === 0x80) end--;
  return bytes.slice(0, Math.max(0, end));
}

/** Reads the first line of descriptor `fd`. @throws ExitError NOINPUT */
export function readSecret(fd: number): string {
  const bytes = Buffer.alloc(MAX_BYTES);
  let length = 0;
  try {
    while (length < MAX_BYTES) {
      const got = readSync(fd, bytes, length, MAX_BYTES - length, null);
      length += got;
      if (got === 0 || bytes.subarray(0, length).includes(0x0a)) break;
    }
    return bytes.toString("utf8", 0, length).split("\n", 1)[0] ?? "";
  } catch (error) {
    throw new ExitError(EXIT.NOINPUT, `can't read the passphrase from descriptor ${fd}: ${error}`);
  } finally {
    bytes.fill(0);
  }
}
