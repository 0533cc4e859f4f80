/** What the event loop and the disk's thread say to each other. */
import { ProtocolError } from "../../../protocol/errors.ts";
import { reasonOf } from "../../../reason.ts";
import type { Run } from "../run.ts";
import { DamagedError, type FsyncPolicy, type Keep, type Kept, StorageError } from "./store.ts";

export interface FolderOptions {
  readonly folder: string;
  readonly fsync: FsyncPolicy;
  readonly keep: Keep;
  /** Rooms in the folder, at most. */
  readonly maxRooms: number;
  /** The machine's run (boot.ts). */
  readonly boot: string;
}

/** Runs in one piece of memory, which changes its owner and is not copied. */
export interface PackedRuns {
  /** First number, number after the last, and length in bytes, of each. */
  readonly marks: readonly number[];
  readonly bytes: ArrayBuffer;
}

/** A file that the thread has opened; `file` is what to call it. */
export interface Opened {
  readonly file: number;
  readonly kept: Kept;
  readonly newest: PackedRuns;
}

/** What can be asked of the thread: what goes there, and what comes back. */
export interface Calls {
  start: [
    { options: FolderOptions; descriptors: SharedArrayBuffer; restarted: boolean },
    undefined,
  ];
  find: [{ key: string; bytes: number }, Opened | undefined];
  create: [{ key: string; logId: Uint8Array }, Opened];
  append: [{ file: number; runs: PackedRuns; time: number; sync: boolean }, number];
  sync: [{ file: number }, undefined];
  page: [{ file: number; seq: number; end: number }, PackedRuns | undefined];
  expireFile: [{ file: number; now: number }, number];
  closeFile: [{ file: number }, undefined];
  expire: [{ now: number }, undefined];
  end: [Record<never, never>, undefined];
}

export type CallName = keyof Calls;
export type Call = { [K in CallName]: { id: number; name: K; with: Calls[K][0] } }[CallName];

/** An error as it crosses between threads, where classes don't. */
export interface Fault {
  readonly kind: "storage" | "damaged" | "rooms-full" | "unknown";
  readonly message: string;
}

export type Answer =
  | { readonly id: number; readonly rooms: number; readonly value: unknown }
  | { readonly id: number; readonly rooms: number; readonly fault: Fault };

/** What the thread says: an answer, or a problem for the relay's log. */
export type Word = Answer | { readonly problem: string };

/** Copies runs into one piece. */
export function pack(runs: readonly Run[]): PackedRuns {
  let length = 0;
  for (const run of runs) length += run.bytes.length;
  const bytes = new ArrayBuffer(length);
  const all = new Uint8Array(bytes);
  const marks: number[] = [];
  let at = 0;
  for (const run of runs) {
    all.set(run.bytes, at);
    marks.push(run.first, run.next, run.bytes.length);
    at += run.bytes.length;
  }
  return { marks, bytes };
}

/** The runs of `pack`; they share its memory. */
export function unpack({ marks, bytes }: PackedRuns): Run[] {
  const runs: Run[] = [];
  let at = 0;
  for (let i = 0; i + 2 < marks.length; i += 3) {
    const [first = 0, next = 0, length = 0] = marks.slice(i, i + 3);
    runs.push({ first, next, bytes: new Uint8Array(bytes, at, length) });
    at += length;
  }
  return runs;
}

export function toFault(error: unknown): Fault {
  const message = reasonOf(error);
  if (error instanceof StorageError) return { kind: "storage", message };
  if (error instanceof DamagedError) return { kind: "damaged", message };
  if (error instanceof ProtocolError) return { kind: "rooms-full", message };
  return { kind: "unknown", message };
}

export function fromFault({ kind, message }: Fault): Error {
  if (kind === "storage") return new StorageError(message);
  if (kind === "damaged") return new DamagedError(message);
  if (kind === "rooms-full") return new ProtocolError("rooms-full", message);
  return new Error(message);
}
