/** Backends that do what software does and cost what they are told, by a clock of their own. */
import type { Backend } from "../../src/crypto/backend.ts";
import { ciphertextBetween, ciphertextBytes } from "../../src/crypto/suite.ts";

/** Milliseconds by which each look at a clock moves it: nothing takes no time at all. */
const LOOK_MS = 0.001;

export class Clock {
  ms = 0;
  readonly now = () => {
    this.ms += LOOK_MS;
    return this.ms;
  };
}

/** What sealing or opening a message costs, in milliseconds: `call`, and `byte` for each byte. */
export interface Cost {
  readonly call: number;
  readonly byte: number;
}

/**
 * `backend` at a cost.
 * @param disturb a delay besides, in milliseconds, for call number `n` of the backend, from 0
 */
export function costly<T extends Backend>(
  backend: T,
  clock: Clock,
  cost: Cost,
  disturb: (n: number) => number = () => 0,
): Backend {
  let calls = 0;
  const pay = (ciphertext: number) => {
    clock.ms += cost.call + cost.byte * ciphertext + disturb(calls++);
  };
  return {
    get description() {
      return backend.description;
    },
    open: (encryptionKey, macKey) => {
      const keys = backend.open(encryptionKey, macKey);
      return {
        seal: (buffer, adAt, ivAt, plaintextBytes) => {
          pay(ciphertextBytes(plaintextBytes));
          return keys.seal(buffer, adAt, ivAt, plaintextBytes);
        },
        open: (buffer, adAt, ivAt, end) => {
          pay(ciphertextBetween(ivAt, end));
          return keys.open(buffer, adAt, ivAt, end);
        },
        close: () => keys.close(),
      };
    },
    close: () => backend.close(),
  };
}
