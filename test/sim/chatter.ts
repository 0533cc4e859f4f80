/** A person with the real client, as far as it knows no terminal: what it shows is checked. */
import { EXIT } from "../../src/cli/exit.ts";
import { Chat } from "../../src/client/chat.ts";
import type { ChatEvent } from "../../src/client/events.ts";
import { software } from "../../src/crypto/software.ts";
import { roomId } from "../../src/protocol/keys.ts";
import type { ClientTransport } from "../../src/transport.ts";
import type { SimProcess } from "./process.ts";
import { short, Violation } from "./truth.ts";

export interface ChatterRoom {
  readonly name: string;
  readonly key: Uint8Array;
}

/** What the checks of a chatter need to know of its world. */
export interface ChatterWorld {
  /** Whether others may have put into the room what no member has sealed. */
  hasPests(room: string): boolean;
  /** Greatest text that the relay takes when it is sealed, in bytes. */
  readonly longest: number;
  /** Whether entries that were acknowledged may be gone. */
  readonly losesEntries: boolean;
}

export class Chatter {
  readonly name: string;
  readonly room: string;
  readonly chat: Chat;
  /** Texts of others and its own, as they were shown. */
  readonly shown: string[] = [];
  readonly #known = new Set<string>();
  /** Texts that were said to be delivered, and as which entries. */
  readonly delivered: { readonly text: string; readonly seq: number }[] = [];
  /** Number of the entry by which it first joined. */
  joinedAt = Number.POSITIVE_INFINITY;
  readonly #texts = new Map<number, string>();
  readonly #last = new Map<string, number>();
  readonly #world: ChatterWorld;
  #said = 0;
  /** Whether it was told that it has not seen all. */
  gaps = 0;

  constructor(
    name: string,
    room: ChatterRoom,
    endpoint: { readonly host: string; readonly port: number },
    process: SimProcess,
    transport: ClientTransport,
    world: ChatterWorld,
  ) {
    this.name = name;
    this.room = room.name;
    this.#world = world;
    this.chat = new Chat({
      endpoint,
      runtime: process,
      transport,
      tls: undefined,
      accessKey: undefined,
      // Each has its own: a client zeroes its key when it ends.
      roomKey: room.key.slice(),
      roomId: roomId(room.key, room.name),
      nick: name,
      backend: software,
      history: 0,
      patienceMs: Number.POSITIVE_INFINITY,
      onEvent: (event) => this.#on(event),
    });
    this.chat.start();
  }

  say(bytes: number): void {
    this.#said += 1;
    const size = Math.min(bytes, this.#world.longest);
    const text = `${this.room} ${this.name} ${this.#said} `.padEnd(size, ".");
    this.#texts.set(this.chat.say("text", text), text);
  }

  #on(event: ChatEvent): void {
    switch (event.type) {
      case "said":
        // What is paged back to comes when it comes, and may have been shown.
        if (event.kind === "text" && !event.history) this.#shows(event.text);
        if (event.kind === "join" && event.own) this.joinedAt = Math.min(this.joinedAt, event.seq);
        return;
      case "delivered":
        for (const number of event.numbers) this.#delivers(number, event.seq);
        return;
      case "missed":
        this.gaps += 1;
        return;
      case "connected":
        if (event.newLog) this.gaps += 1;
        return;
      case "warning":
        this.#warned(event.warning, event.text);
        return;
      case "ended":
        if (event.exitCode !== EXIT.OK) throw new Violation(`${this.name} ended: ${event.why}`);
        return;
      default:
        return;
    }
  }

  #warned(warning: string, text: string): void {
    if (warning === "forged" && this.#world.hasPests(this.room)) return;
    // What was lost is missing where something of the same sender follows.
    if (warning === "skipped" && this.#world.losesEntries) return;
    throw new Violation(`${this.name} warns of an honest relay: ${warning}: ${text}`);
  }

  #shows(text: string): void {
    if (this.#known.has(text)) throw new Violation(`${this.name} shows "${short(text)}" twice`);
    this.#known.add(text);
    this.shown.push(text);
    const [room = "", author = "", number = ""] = text.split(" ");
    if (room !== this.room)
      throw new Violation(`${this.name} in ${this.room} is shown "${short(text)}"`);
    const last = this.#last.get(author) ?? 0;
    if (Number(number) <= last) {
      throw new Violation(`${this.name} is shown ${author}'s ${number} after ${last}`);
    }
    this.#last.set(author, Number(number));
  }

  #delivers(number: number, seq: number): void {
    const text = this.#texts.get(number);
    if (text === undefined) throw new Violation(`${this.name}: nobody sent message ${number}`);
    this.delivered.push({ text, seq });
  }
}
