/** A real terminal, driven by tmux on a server of its own. */
import { until } from "./programs.ts";

export class Terminal {
  readonly #socket = `chat-test-${process.pid}-${Math.random().toString(36).slice(2)}`;

  /** Runs `command` (a shell's words) in a terminal of the given size. */
  constructor(command: string, columns = 80, rows = 24) {
    this.#tmux(
      "-f",
      "/dev/null",
      "new-session",
      "-d",
      "-x",
      String(columns),
      "-y",
      String(rows),
      `${command}; echo "[exit $?]"; sleep 1000`,
    );
  }

  #tmux(...words: string[]): string {
    return Bun.spawnSync(["tmux", "-L", this.#socket, ...words]).stdout.toString();
  }

  /** Types text as it stands. */
  type(text: string): void {
    this.#tmux("send-keys", "-l", "--", text);
  }

  /** Presses keys by tmux's names: Enter, C-c, Up, ... */
  press(...keys: string[]): void {
    this.#tmux("send-keys", ...keys);
  }

  resize(columns: number, rows: number): void {
    this.#tmux("resize-window", "-x", String(columns), "-y", String(rows));
  }

  /** The screen as a person sees it, without empty lines at its end. */
  screen(): string[] {
    const lines = this.#tmux("capture-pane", "-p")
      .split("\n")
      .map((line) => line.trimEnd());
    while (lines.at(-1) === "") lines.pop();
    return lines;
  }

  /** The screen with its escape sequences, for colours. */
  coloured(): string {
    return this.#tmux("capture-pane", "-p", "-e");
  }

  /** Waits for a line that matches. */
  async sees(pattern: RegExp | string, milliseconds = 15_000): Promise<string> {
    const matches = (line: string) =>
      typeof pattern === "string" ? line.includes(pattern) : pattern.test(line);
    try {
      return await until(
        `${pattern} on the screen`,
        () => this.screen().find(matches),
        milliseconds,
      );
    } catch (error) {
      throw new Error(`${error}; the screen shows:\n${this.screen().join("\n")}`);
    }
  }

  /** The command's exit code, once it has ended. */
  async exitCode(): Promise<number> {
    const line = await this.sees(/^\[exit \d+\]$/);
    return Number(line.match(/\d+/)?.[0]);
  }

  kill(): void {
    this.#tmux("kill-server");
  }
}
