/** Events as lines for people. Everything that came from others passes `harmless`. */
import type { ChatEvent, Said } from "./events.ts";
import { harmless } from "./harmless.ts";

/** Older or newer than this is shown with its date, in milliseconds. */
const LATE_MS = 5 * 60_000;
const DAY_MS = 86_400_000;

export interface Style {
  /** Makes a name stand out; the sender's number picks the colour. */
  name(text: string, sender: string): string;
  /** For what is not somebody's message. */
  aside(text: string): string;
  warning(text: string): string;
}

export const PLAIN: Style = {
  name: (text) => text,
  aside: (text) => text,
  warning: (text) => text,
};

const COLOURS = [31, 32, 33, 34, 35, 36, 91, 92, 93, 94, 95, 96];
const sgr = (code: number, text: string) => `\x1b[${code}m${text}\x1b[0m`;

export const COLOURED: Style = {
  name: (text, sender) =>
    sgr(COLOURS[Number.parseInt(sender.slice(0, 4), 16) % COLOURS.length] ?? 36, text),
  aside: (text) => sgr(2, text),
  warning: (text) => sgr(33, text),
};

const two = (n: number) => String(n).padStart(2, "0");

/** The sender's time; with its date where it is not about now. */
export function clock(time: number, now: number): string {
  const t = new Date(Math.min(time, 8.64e15));
  const hours = `${two(t.getHours())}:${two(t.getMinutes())}`;
  if (Math.abs(now - time) < LATE_MS) return hours;
  const date = `${t.getFullYear()}-${two(t.getMonth() + 1)}-${two(t.getDate())}`;
  return Math.abs(now - time) < DAY_MS / 2 ? hours : `${date} ${hours}`;
}

/** One line for a message: `nick: text`, or `* nick text` for /me. */
export function messageLine(event: ChatEvent & { type: "said" }, style: Style): string {
  const name = style.name(harmless(event.name), event.sender);
  return event.kind === "action"
    ? `* ${name} ${harmless(event.text)}`
    : `${name}: ${harmless(event.text)}`;
}

/** A live message whose sender's clock is far from ours was delayed, or a clock is wrong. */
export function lateRemark(said: Said, now: number): string {
  if (said.history || Math.abs(now - said.time) < LATE_MS) return "";
  return ` [its sender's clock says ${new Date(Math.min(said.time, 8.64e15)).toISOString()}]`;
}

/** A line for what is not a message, or undefined where there is nothing to say. */
export function asideLine(event: ChatEvent): string | undefined {
  switch (event.type) {
    case "said":
      return presenceLine(event);
    case "connecting":
      return undefined;
    case "connected":
      return event.newLog
        ? "connected again; the relay has begun a new log: what it held before is gone"
        : `connected${event.again ? " again" : ""}${event.history > 0 ? `, ${event.history} earlier entries follow` : ""}`;
    case "disconnected":
      return `not connected: ${event.why}; trying again in ${(event.retryMs / 1000).toFixed(1)} s`;
    case "lost":
      return `${harmless(event.name)} lost the connection (the relay says)`;
    case "missed":
      return `missed ${event.count} entries that the relay no longer holds`;
    case "past":
      return `${event.messages} earlier messages, from entry ${event.first} on:${event.refused > 0 ? ` (${event.refused} entries are not authentic and not shown)` : ""}`;
    case "notice":
      return `the relay says: ${event.text}`;
    case "crypto":
      return `encryption: ${event.text}`;
    default:
      return undefined;
  }
}

function presenceLine(event: ChatEvent & { type: "said" }): string | undefined {
  const name = harmless(event.name);
  switch (event.kind) {
    case "join":
      return event.own ? `you are in the room as ${name}` : `${name} joined`;
    case "here":
      return event.own ? undefined : `${name} is here`;
    case "leave":
      return event.own ? undefined : `${name} left`;
    case "nick":
      return `${harmless(event.text)} is now ${name}`;
    default:
      return undefined;
  }
}

export function warningLine(event: ChatEvent): string | undefined {
  return event.type === "warning" ? `warning: ${harmless(event.text)}` : undefined;
}
