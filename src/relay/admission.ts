/** Who is let in: so many connections in all, and from one address. */
import type { CodeName } from "../protocol/errors.ts";
import type { Limits } from "./limits.ts";

export interface Refusal {
  readonly code: CodeName;
  readonly why: string;
}

export class Admission {
  readonly #perAddress = new Map<string, number>();
  #connections = 0;

  /** Counts a connection in. @returns why it can't be, and then it is not counted */
  admit(address: string, { maxConnections, maxPerAddress }: Limits): Refusal | undefined {
    const fromAddress = this.#perAddress.get(address) ?? 0;
    if (this.#connections >= maxConnections) {
      return { code: "relay-full", why: `this relay's ${maxConnections} connections are in use` };
    }
    if (fromAddress >= maxPerAddress) {
      const why = `${maxPerAddress} connections from ${address} are open already`;
      return { code: "address-full", why };
    }
    this.#connections += 1;
    this.#perAddress.set(address, fromAddress + 1);
    return undefined;
  }

  /** A connection that was counted in is gone. */
  leave(address: string): void {
    this.#connections -= 1;
    const left = (this.#perAddress.get(address) ?? 1) - 1;
    if (left > 0) this.#perAddress.set(address, left);
    else this.#perAddress.delete(address);
  }
}
