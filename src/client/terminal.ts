/** The chat on a terminal: a line being typed at the bottom, everything else above it. */
import {
  clearScreenDown,
  createInterface,
  cursorTo,
  type Interface,
  moveCursor,
} from "node:readline";
import { EXIT, type ExitCode } from "../cli/exit.ts";
import type { Chat } from "./chat.ts";
import type { ChatEvent } from "./events.ts";
import { harmless } from "./harmless.ts";
import {
  asideLine,
  COLOURED,
  clock,
  lateRemark,
  messageLine,
  PLAIN,
  type Style,
  warningLine,
} from "./show.ts";
import { nickProblem, pieces } from "./text.ts";

/** A message without acknowledgement is mentioned after this long, in milliseconds. */
const UNDELIVERED_MS = 1500;
const HISTORY_LINES = 1000;
/** Earlier entries that /history gets when it is not told how many. */
const PAST_ENTRIES = 50;
/** Width taken where the terminal does not tell its own, as on a serial console. */
const DEFAULT_COLUMNS = 80;

const HELP = [
  "/nick NAME  change your nick        /who   who is here",
  "/me TEXT    say what you do         /quit  leave (Ctrl-D too)",
  "/history N  earlier entries         //TEXT a message that begins with a slash",
];

export class TerminalUi {
  readonly #out = process.stdout;
  readonly #style: Style;
  /** A terminal without cursor movement gets lines in the order they come. */
  readonly #dumb = process.env.TERM === "dumb" || process.env.TERM === undefined;
  readonly #done = Promise.withResolvers<ExitCode>();
  readonly #early: string[] = [];
  #chat: Chat | undefined;
  #line: Interface | undefined;

  constructor() {
    const colours = !this.#dumb && !process.env.NO_COLOR && this.#out.hasColors?.() !== false;
    this.#style = colours ? COLOURED : PLAIN;
  }

  /** Runs until the person leaves or the chat ends. @returns the exit code */
  async run(chat: Chat): Promise<ExitCode> {
    this.#chat = chat;
    const line = createInterface({
      input: process.stdin,
      output: this.#out,
      terminal: !this.#dumb,
      historySize: HISTORY_LINES,
      removeHistoryDuplicates: true,
      prompt: this.#prompt(),
    });
    this.#line = line;
    line.on("line", (text) => this.#entered(text));
    line.on("SIGINT", () => this.#interrupted());
    line.on("close", () => this.#done.resolve(EXIT.OK));
    process.on("SIGTERM", () => this.#done.resolve(EXIT.OK));
    process.on("SIGHUP", () => this.#done.resolve(EXIT.OK));
    for (const early of this.#early) this.print(early);
    line.prompt();
    chat.start();
    const code = await this.#done.promise;
    const undelivered = chat.undelivered + chat.dropped;
    this.#line = undefined;
    line.close();
    this.#clearTyped(1);
    await chat.stop();
    if (undelivered === 0) return code;
    this.print(this.#style.warning(`${undelivered} messages were not delivered`));
    return code === EXIT.OK ? EXIT.TEMPFAIL : code;
  }

  onEvent(event: ChatEvent): void {
    if (event.type === "ended") {
      this.print(this.#style.warning(event.why));
      this.#done.resolve(event.exitCode);
    } else if (event.type === "said" && (event.kind === "text" || event.kind === "action")) {
      const time = this.#style.aside(clock(event.time, Date.now()));
      const late = this.#style.warning(lateRemark(event, Date.now()));
      this.print(`${time} ${messageLine(event, this.#style)}${late}`);
    } else {
      const warning = warningLine(event);
      const aside = asideLine(event);
      if (warning !== undefined) this.print(this.#style.warning(warning));
      else if (aside !== undefined) this.print(this.#style.aside(`-- ${aside}`));
    }
  }

  /** Prints a line above the one being typed. */
  print(text: string): void {
    const line = this.#line;
    if (line === undefined) {
      if (this.#chat === undefined) this.#early.push(text);
      else this.#out.write(`${text}\n`);
    } else if (this.#dumb) {
      this.#out.write(`${text}\n`);
    } else {
      // From wherever the cursor stands to the first row of what is typed. The prompt goes back up
      // as many rows before it draws itself, so as many are left for it.
      const { rows } = line.getCursorPos();
      moveCursor(this.#out, 0, -rows);
      cursorTo(this.#out, 0);
      clearScreenDown(this.#out);
      this.#out.write(`${text}\n${"\n".repeat(rows)}`);
      line.prompt(true);
    }
  }

  #prompt(): string {
    return `${harmless(this.#chat?.nick ?? "")}> `;
  }

  #entered(text: string): void {
    if (!this.#dumb) this.#clearTyped(this.#rowsOf(text));
    const [, command, rest = ""] = text.match(/^\/(\w*)(?:\s+(.*))?$/s) ?? [];
    if (text.startsWith("//")) this.#say("text", text.slice(1));
    else if (command !== undefined) this.#command(command, rest.trim());
    else if (text !== "") this.#say("text", text);
    this.#line?.prompt();
  }

  #rowsOf(text: string): number {
    const columns = this.#out.columns || DEFAULT_COLUMNS;
    return Math.floor(Bun.stringWidth(this.#prompt() + text) / columns) + 1;
  }

  /** Takes away the line just entered: it comes back from the log when it is delivered. */
  #clearTyped(rows: number): void {
    if (this.#dumb) return;
    moveCursor(this.#out, 0, -rows);
    cursorTo(this.#out, 0);
    clearScreenDown(this.#out);
  }

  #say(kind: "text" | "action", text: string): void {
    const chat = this.#chat;
    if (chat === undefined) return;
    if (!chat.ready) {
      this.print(
        this.#style.warning(`too much is undelivered already; not sent: ${harmless(text)}`),
      );
      return;
    }
    for (const piece of pieces(text, chat.maxTextBytes)) {
      const number = chat.say(kind, piece);
      setTimeout(() => {
        if (!chat.isWaiting(number)) return;
        const shown = `not delivered yet, will be sent again: ${harmless(piece)}`;
        this.print(this.#style.warning(shown));
      }, UNDELIVERED_MS);
    }
  }

  #command(command: string, rest: string): void {
    switch (command) {
      case "help":
        for (const line of HELP) this.print(this.#style.aside(line));
        break;
      case "nick":
        this.#rename(rest);
        break;
      case "who":
        this.#who();
        break;
      case "history":
        this.#past(rest);
        break;
      case "me":
        if (rest !== "") this.#say("action", rest);
        break;
      case "quit":
        this.#done.resolve(EXIT.OK);
        break;
      default:
        this.print(
          this.#style.warning(`there is no /${harmless(command)}; /help tells what there is`),
        );
    }
  }

  #rename(nick: string): void {
    const problem = nickProblem(nick);
    if (problem !== undefined) {
      this.print(this.#style.warning(`${problem}: /nick NAME`));
      return;
    }
    this.#chat?.rename(nick);
    this.#line?.setPrompt(this.#prompt());
  }

  #past(count: string): void {
    const wanted = count === "" ? PAST_ENTRIES : /^\d{1,6}$/.test(count) ? Number(count) : 0;
    if (wanted === 0) {
      this.print(this.#style.warning("how many? /history N"));
      return;
    }
    void this.#chat?.past(wanted).then((problem) => {
      if (problem !== undefined) this.print(this.#style.warning(`no history: ${problem}`));
    });
  }

  #who(): void {
    const chat = this.#chat;
    if (chat === undefined) return;
    const names = chat.roster.all().map(({ sender, nick }) => {
      const name = this.#style.name(harmless(chat.roster.nameOf(sender, nick)), sender);
      return sender === chat.sender ? `${name} (you)` : name;
    });
    this.print(`${this.#style.aside(`-- ${names.length} here:`)} ${names.join(", ")}`);
  }

  /** Ctrl-C empties the line; on an empty one it leaves. */
  #interrupted(): void {
    const line = this.#line;
    if (line === undefined || line.line === "") {
      this.#done.resolve(EXIT.OK);
      return;
    }
    line.write(null, { ctrl: true, name: "e" });
    line.write(null, { ctrl: true, name: "u" });
  }
}
