/**
 * What the programs take from the machine besides sockets and disks: time and randomness. Both are
 * handed in, so that a simulation can play them (docs/architecture.md, "The simulator").
 */

/** Something that will happen, unless it is cancelled. */
export interface Alarm {
  cancel(): void;
}

export interface Clock {
  /** Milliseconds on a clock that only rises, from an arbitrary beginning. */
  now(): number;
  /** Milliseconds since 1970, as the machine has it: it may be set forth and back. */
  date(): number;
  /** Calls `action` once, `milliseconds` from now. */
  after(milliseconds: number, action: () => void): Alarm;
  /** Calls `action` every so many milliseconds. */
  every(milliseconds: number, action: () => void): Alarm;
  /** Calls `action` when what this turn of the event loop brings has been dealt with. */
  soon(action: () => void): void;
}

export interface Runtime {
  readonly clock: Clock;
  /** Fills `bytes` with what nobody can guess, and returns them. */
  random(bytes: Uint8Array): Uint8Array;
}

const systemClock: Clock = {
  now: () => performance.now(),
  date: () => Date.now(),
  after(milliseconds, action) {
    const timer = setTimeout(action, milliseconds);
    return { cancel: () => clearTimeout(timer) };
  },
  every(milliseconds, action) {
    const timer = setInterval(action, milliseconds);
    return { cancel: () => clearInterval(timer) };
  },
  soon: (action) => void setImmediate(action),
};

/** The machine's own. */
export const SYSTEM: Runtime = {
  clock: systemClock,
  random: (bytes) => crypto.getRandomValues(bytes as Uint8Array<ArrayBuffer>),
};

/** A number from 0 up to and without 1. */
export function fraction(runtime: Runtime): number {
  const bytes = runtime.random(new Uint8Array(4));
  return new DataView(bytes.buffer, bytes.byteOffset, 4).getUint32(0) / 0x1_0000_0000;
}

/** Resolves after so many milliseconds. */
export function pause(clock: Clock, milliseconds: number): Promise<void> {
  return new Promise((resolve) => {
    clock.after(milliseconds, resolve);
  });
}
