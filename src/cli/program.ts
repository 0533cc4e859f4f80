/**
 * Runs a citty command as a program: refuses what citty lets pass (options that nobody declared,
 * arguments too many), and turns errors into one line and an exit code. A program's first word may
 * name a subcommand; everything else belongs to the main command, whose own arguments are free.
 */
import { type ArgsDef, type CommandDef, type ParsedArgs, parseArgs, renderUsage } from "citty";
import { EXIT, ExitError } from "./exit.ts";

/** A command whose arguments' types are checked where it is defined. */
export interface Command {
  readonly usage: CommandDef;
  run(args: ParsedArgs): void | Promise<void>;
}

/** Declares a command: citty's definitions and a function that takes what they parse to. */
export function defineCommand<const T extends ArgsDef>(
  meta: { readonly name: string; readonly version: string; readonly description: string },
  args: T,
  run: (args: ParsedArgs<T>) => void | Promise<void>,
): Command {
  return { usage: { meta, args }, run: (parsed) => run(parsed as ParsedArgs<T>) };
}

export interface Program {
  readonly name: string;
  readonly version: string;
  readonly main: Command;
  readonly subCommands: Readonly<Record<string, Command>>;
  /** Lines for the end of --help. */
  readonly examples: readonly string[];
}

/** Runs `program` with the process's arguments and sets the exit code. */
export async function runProgram(program: Program): Promise<void> {
  try {
    const rawArgs = process.argv.slice(2);
    const { name, command, rest } = choose(program, rawArgs);
    if (rest.includes("--version") || rest.includes("-v")) {
      process.stdout.write(`${program.name} ${program.version}\n`);
    } else if (rest.includes("--help") || rest.includes("-h")) {
      process.stdout.write(await helpText(program, command));
    } else {
      await command.run(checkedArgs(name, command, rest));
    }
  } catch (error) {
    // Not the exit code alone: what was begun before the error must not keep the process.
    process.exit(fail(program.name, error));
  }
}

/** Says what went wrong on stderr; an error nobody foresaw comes with its stack. */
export function fail(name: string, error: unknown): number {
  if (error instanceof ExitError) {
    process.stderr.write(`${name}: ${error.message}\n`);
    return error.exitCode;
  }
  process.stderr.write(`${name}: internal error, please report it\n${stackOf(error)}\n`);
  return EXIT.SOFTWARE;
}

function stackOf(error: unknown): string {
  return error instanceof Error ? (error.stack ?? error.message) : String(error);
}

interface Choice {
  readonly name: string;
  readonly command: Command;
  readonly rest: string[];
}

function choose(program: Program, rawArgs: string[]): Choice {
  const [first] = rawArgs;
  const sub = first === undefined ? undefined : program.subCommands[first];
  if (first === undefined || sub === undefined) {
    return { name: program.name, command: program.main, rest: rawArgs };
  }
  return { name: `${program.name} ${first}`, command: sub, rest: rawArgs.slice(1) };
}

async function helpText(program: Program, command: Command): Promise<string> {
  const { usage } = program.main;
  if (command !== program.main) return plain(`${await renderUsage(command.usage, usage)}\n`);
  const subs = Object.entries(program.subCommands);
  const subCommands = Object.fromEntries(subs.map(([name, sub]) => [name, sub.usage]));
  const text = await renderUsage(subs.length > 0 ? { ...usage, subCommands } : usage);
  return plain(`${text}\n\nEXAMPLES\n\n${program.examples.join("\n")}\n`);
}

function plain(text: string): string {
  return process.stdout.isTTY ? text : Bun.stripANSI(text);
}

function checkedArgs(name: string, command: Command, rest: string[]): ParsedArgs {
  const defs = command.usage.args as ArgsDef;
  const args = parseArgs(rest, defs);
  const declared = new Set(["_"]);
  let positionals = 0;
  for (const [key, def] of Object.entries(defs)) {
    if (def.type === "positional") positionals += 1;
    for (const alias of [key, ...("alias" in def ? [def.alias ?? []].flat() : [])]) {
      declared.add(alias).add(alias.replace(/-(\w)/g, (_, c: string) => c.toUpperCase()));
    }
  }
  const unknown = Object.keys(args).find((key) => !declared.has(key));
  if (unknown !== undefined) {
    throw usage(name, `there is no option ${unknown.length > 1 ? "--" : "-"}${unknown}`);
  }
  for (const [key, def] of Object.entries(defs)) {
    if (def.type !== "boolean" && args[key] === "" && rest.includes(`--${key}`)) {
      throw usage(name, `--${key} needs a value`);
    }
  }
  const extra = args._[positionals];
  if (extra !== undefined) throw usage(name, `what is "${extra}" for? It is one argument too many`);
  return args;
}

function usage(name: string, message: string): ExitError {
  return new ExitError(EXIT.USAGE, `${message}; see ${name} --help`);
}
