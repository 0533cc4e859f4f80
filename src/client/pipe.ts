/** The chat as a filter: lines of stdin are messages, messages are lines of stdout. */
import { EXIT, type ExitCode } from "../cli/exit.ts";
import { reasonOf } from "../reason.ts";
import type { Chat } from "./chat.ts";
import type { ChatEvent } from "./events.ts";
import { harmlessJson } from "./harmless.ts";
import { asideLine, lateRemark, messageLine, PLAIN, warningLine } from "./show.ts";
import { pieces } from "./text.ts";

export interface PipeOptions {
  readonly format: "text" | "json";
  /** What to do when stdin ends: leave, or go on receiving. */
  readonly atEnd: "leave" | "listen";
  /** Whether connection news goes to stderr. */
  readonly asides: "shown" | "hidden";
  readonly room: string;
}

export class PipeUi {
  readonly #options: PipeOptions;
  readonly #done = Promise.withResolvers<ExitCode>();
  #chat: Chat | undefined;
  #inputEnded = false;
  #wake: (() => void) | undefined;

  constructor(options: PipeOptions) {
    this.#options = options;
  }

  /** Runs until all is said, the chat ends, or a signal comes. @returns the exit code */
  async run(chat: Chat): Promise<ExitCode> {
    this.#chat = chat;
    for (const signal of ["SIGINT", "SIGTERM"] as const) {
      process.on(signal, () => this.#done.resolve(EXIT.OK));
    }
    process.stdout.on("error", () => this.#done.resolve(EXIT.IOERR));
    chat.start();
    this.#read(chat).catch((error: unknown) => {
      process.stderr.write(`chat-client: can't read stdin (${reasonOf(error)})\n`);
      this.#done.resolve(EXIT.NOINPUT);
    });
    const code = await this.#done.promise;
    const undelivered = chat.undelivered + chat.dropped;
    await chat.stop();
    if (undelivered > 0) {
      process.stderr.write(`chat-client: ${undelivered} messages were not delivered\n`);
      return code === EXIT.OK || code === EXIT.UNAVAILABLE ? EXIT.TEMPFAIL : code;
    }
    return code;
  }

  onEvent(event: ChatEvent): void {
    if (event.type === "ended") {
      process.stderr.write(`chat-client: ${event.why}\n`);
      this.#done.resolve(event.exitCode);
    } else if (this.#options.format === "json") {
      process.stdout.write(`${harmlessJson(jsonOf(event, this.#options.room))}\n`);
      this.#aside(warningLine(event));
    } else {
      this.#showText(event);
    }
    this.#wake?.();
    this.#checkFinished();
  }

  #showText(event: ChatEvent): void {
    if (event.type === "said" && (event.kind === "text" || event.kind === "action")) {
      if (!event.own) process.stdout.write(`${messageLine(event, PLAIN)}\n`);
      this.#aside(lateRemark(event, Date.now()) || undefined);
      return;
    }
    const warning = warningLine(event);
    if (warning !== undefined) process.stderr.write(`chat-client: ${warning}\n`);
    else this.#aside(asideLine(event));
  }

  #aside(line: string | undefined): void {
    if (line !== undefined && this.#options.asides === "shown") {
      process.stderr.write(`chat-client: ${line.trimStart()}\n`);
    }
  }

  async #read(chat: Chat): Promise<void> {
    // Bytes that are no UTF-8 become U+FFFD here: a message is text.
    const decoder = new TextDecoder();
    let rest = "";
    for await (const chunk of Bun.stdin.stream()) {
      rest += decoder.decode(chunk, { stream: true });
      const lines = rest.split("\n");
      rest = lines.pop() ?? "";
      for (const line of lines) await this.#say(chat, line);
      // A line without end is sent in pieces rather than kept whole.
      while (rest.length > chat.maxTextBytes) {
        const end = wholeEnd(rest, chat.maxTextBytes);
        await this.#say(chat, rest.slice(0, end));
        rest = rest.slice(end);
      }
    }
    rest += decoder.decode();
    if (rest !== "") await this.#say(chat, rest);
    this.#inputEnded = true;
    this.#checkFinished();
  }

  async #say(chat: Chat, line: string): Promise<void> {
    const text = line.endsWith("\r") ? line.slice(0, -1) : line;
    for (const piece of pieces(text, chat.maxTextBytes)) {
      while (!chat.ready) {
        await new Promise<void>((resolve) => {
          this.#wake = resolve;
        });
      }
      chat.say("text", piece);
    }
  }

  #checkFinished(): void {
    const chat = this.#chat;
    if (!this.#inputEnded || this.#options.atEnd === "listen") return;
    if (chat?.connected && chat.undelivered === 0) this.#done.resolve(EXIT.OK);
  }
}

/** The greatest end of a piece, at most `most`, that cuts no character of two units in half. */
function wholeEnd(text: string, most: number): number {
  const last = text.charCodeAt(most - 1);
  return last >= 0xd800 && last <= 0xdbff ? most - 1 : most;
}

/** One object for one event, with everything known of it. */
function jsonOf(event: ChatEvent, room: string): Record<string, unknown> {
  const common = { room, received: new Date().toISOString() };
  if (event.type !== "said") {
    const { type, ...rest } = event;
    return { event: type, ...common, ...rest };
  }
  const { type: _, kind, seq, sender, nick, name, time, text, own, history } = event;
  const iso = new Date(Math.min(time, 8.64e15)).toISOString();
  const late = lateRemark(event, Date.now()) !== "";
  const known = { seq, sender, nick, name, time: iso, own, history, late, verified: true };
  const content =
    kind === "nick" ? { former: text } : kind === "text" || kind === "action" ? { text } : {};
  return { event: kind, ...common, ...known, ...content };
}
