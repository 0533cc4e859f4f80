/** Which connection a client's token belongs to: its newest. An older one must not speak again. */
import type { Connection } from "../connection/connection.ts";

/** What a client's token is called: relays tell each other, and need not know it. */
export function tokenName(token: Uint8Array): string {
  return new Bun.CryptoHasher("sha256").update(token).digest("hex").slice(0, 32);
}

/** Whether a token is one, and not zeros: who has none takes no other connection's place. */
export function isToken(token: Uint8Array): boolean {
  return token.some((byte) => byte !== 0);
}

export class Takeover {
  readonly #holders = new Map<string, Connection>();
  readonly #names = new Map<Connection, string>();

  /** Gives a client's token to its newest connection. @returns the one that had it */
  claim(room: string, token: string, connection: Connection): Connection | undefined {
    const name = `${room} ${token}`;
    const earlier = this.#holders.get(name);
    if (earlier !== undefined) this.#names.delete(earlier);
    this.#holders.set(name, connection);
    this.#names.set(connection, name);
    return earlier;
  }

  holder(room: string, token: string): Connection | undefined {
    return this.#holders.get(`${room} ${token}`);
  }

  /** A connection is over; its token stays with whoever has it now. */
  release(connection: Connection): void {
    const name = this.#names.get(connection);
    if (name === undefined) return;
    this.#names.delete(connection);
    this.#holders.delete(name);
  }
}
