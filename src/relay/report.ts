/** The relay's log: plain words, and no way for a flood of refusals to flood the disk. */
import { type ConsolaReporter, createConsola } from "consola";

/** Refusals written in a second; the rest are counted. */
const REFUSALS_PER_SECOND = 20;
/** A problem is said again after so many sweeps, and so many different ones meanwhile. */
const PROBLEM_SWEEPS = 60;
const PROBLEMS = 100;

/** What a program wants to know of a line of the log. */
export type Fields = Readonly<Record<string, string | number>>;

export interface Report {
  /** The relay itself: it listens, it stops. */
  state(line: string): void;
  /** A single client came, joined, went. */
  info(line: string, fields?: Fields): void;
  refusal(line: string, fields?: Fields): void;
  /** Something of the relay's own is wrong: somebody has to look at it. */
  problem(line: string): void;
  /** Called about once a second. */
  sweep(): void;
}

export const LOG_FORMATS = ["text", "json"] as const;
export type LogFormat = (typeof LOG_FORMATS)[number];

/** A line for people, or an object for programs. */
const REPORTERS: Record<LogFormat, ConsolaReporter> = {
  text: {
    log: ({ date, type, args }) =>
      process.stdout.write(`${date.toISOString()} ${type} ${args.join(" ")}\n`),
  },
  json: {
    log: ({ date, type, args }) => {
      const [message, fields] = args as [string, object | undefined];
      const entry = { time: date.toISOString(), level: type, message, ...fields };
      process.stdout.write(`${JSON.stringify(entry)}\n`);
    },
  },
};

export class ConsoleReport implements Report {
  readonly #log: ReturnType<typeof createConsola>;
  readonly #format: LogFormat;
  readonly #quiet: boolean;
  #refusals = 0;
  /** What was wrong lately: it is said once. */
  readonly #problems = new Set<string>();
  #sweeps = 0;

  /** @param detail "quiet" leaves out what every single client does */
  constructor(detail: "all" | "quiet", format: LogFormat = "text") {
    this.#quiet = detail === "quiet";
    this.#format = format;
    this.#log = createConsola({ level: 3, reporters: [REPORTERS[format]] });
    // Whoever read the log may stop reading: the relay goes on without one.
    process.stdout.on("error", () => undefined);
  }

  state(line: string): void {
    this.#log.info(line);
  }

  info(line: string, fields: Fields = {}): void {
    if (!this.#quiet) this.#log.info(line, ...this.#also(fields));
  }

  refusal(line: string, fields: Fields = {}): void {
    this.#refusals += 1;
    if (this.#refusals <= REFUSALS_PER_SECOND) this.#log.warn(line, ...this.#also(fields));
  }

  /** The line says it all to people. */
  #also(fields: Fields): Fields[] {
    return this.#format === "json" ? [fields] : [];
  }

  problem(line: string): void {
    if (this.#problems.size < PROBLEMS && !this.#problems.has(line)) this.#log.error(line);
    this.#problems.add(line);
  }

  sweep(): void {
    const unsaid = this.#refusals - REFUSALS_PER_SECOND;
    if (unsaid > 0) this.#log.warn(`${unsaid} more clients refused or slowed in the last second`);
    this.#refusals = 0;
    this.#sweeps += 1;
    if (this.#sweeps % PROBLEM_SWEEPS === 0) this.#problems.clear();
  }
}
