/** Who is here, as far as this client has been told. */

export interface Member {
  readonly sender: string;
  nick: string;
  /** The relay's number of the connection that was last heard of. */
  connection: number;
}

/** Members remembered at most; beyond that newcomers are not listed. */
const MAX_MEMBERS = 10_000;

export class Roster {
  readonly #members = new Map<string, Member>();

  get size(): number {
    return this.#members.size;
  }

  /** Everyone, by nick. */
  all(): Member[] {
    return [...this.#members.values()].sort((a, b) => a.nick.localeCompare(b.nick));
  }

  /** A sign of life: true when the sender was not known to be here. */
  heard(sender: string, nick: string, connection: number): boolean {
    const member = this.#members.get(sender);
    if (member !== undefined) {
      member.nick = nick;
      member.connection = connection;
      return false;
    }
    if (this.#members.size < MAX_MEMBERS) this.#members.set(sender, { sender, nick, connection });
    return true;
  }

  /** The sender took its leave: true when it was known to be here. */
  left(sender: string): boolean {
    return this.#members.delete(sender);
  }

  /** The relay says that a connection is gone: who was heard of through it last. */
  gone(connection: number): Member | undefined {
    for (const member of this.#members.values()) {
      if (member.connection === connection) {
        this.#members.delete(member.sender);
        return member;
      }
    }
    return undefined;
  }

  /** What to call a sender: with a bit of its number where somebody else has the same nick. */
  nameOf(sender: string, nick: string): string {
    for (const member of this.#members.values()) {
      if (member.sender !== sender && member.nick === nick) return `${nick}#${sender.slice(0, 4)}`;
    }
    return nick;
  }

  clear(): void {
    this.#members.clear();
  }
}
