/**
 * The descriptors that the disk's thread has opened itself. SQLite's are closed when a thread ends, these
 * are not: they are noted in memory that both threads see, so that what is left can be closed.
 */
import { closeSync, fdatasync, fsync, openSync } from "node:fs";

/** One byte for each number of a descriptor; higher ones are not noted. */
const NOTED = 1 << 18;

export const descriptorTable = () => new SharedArrayBuffer(NOTED);

/** Closes what an ended thread has left open. */
export function closeLeft(table: SharedArrayBuffer): void {
  const open = new Uint8Array(table);
  for (let at = open.indexOf(1); at >= 0; at = open.indexOf(1, at + 1)) {
    open[at] = 0;
    closeSync(at);
  }
}

export class Descriptors {
  readonly #open: Uint8Array;

  constructor(table: SharedArrayBuffer) {
    this.#open = new Uint8Array(table);
  }

  /** Opens a file for its sync. @throws Error of the system */
  open(path: string): number {
    const descriptor = openSync(path, "r");
    this.#open[descriptor] = 1;
    return descriptor;
  }

  close(descriptor: number): void {
    this.#open[descriptor] = 0;
    closeSync(descriptor);
  }
}

/** The file's data is on the disk when this resolves. The thread goes on meanwhile. */
export function dataSync(descriptor: number): Promise<void> {
  return new Promise((resolve, reject) => {
    fdatasync(descriptor, (error) => (error === null ? resolve() : reject(error)));
  });
}

/** The folder's names are on the disk when this resolves. */
export function folderSync(descriptor: number): Promise<void> {
  return new Promise((resolve, reject) => {
    fsync(descriptor, (error) => (error === null ? resolve() : reject(error)));
  });
}
