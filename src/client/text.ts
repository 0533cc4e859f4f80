/** Text on its way out: nicks that can be used, messages that fit. */
import { MAX_ROOM_NAME_BYTES } from "../protocol/keys.ts";
import { MAX_NICK_BYTES } from "../protocol/payload.ts";
import { harmless } from "./harmless.ts";

const encoder = new TextEncoder();

export function utf8Bytes(text: string): number {
  return encoder.encode(text).length;
}

/** Why a nick can't be used, or undefined when it can. */
export function nickProblem(nick: string): string | undefined {
  if (nick === "") return "a nick can't be empty";
  if (nick !== nick.trim()) return "a nick can't begin or end with a space";
  if (utf8Bytes(nick) > MAX_NICK_BYTES) return `a nick has at most ${MAX_NICK_BYTES} bytes`;
  if (harmless(nick) !== nick) return "a nick can't hold control characters";
  return undefined;
}

/** Why a room can't have this name, or undefined when it can. */
export function roomProblem(room: string): string | undefined {
  const bytes = utf8Bytes(room);
  if (bytes < 1 || bytes > MAX_ROOM_NAME_BYTES) {
    return `a room's name has 1 to ${MAX_ROOM_NAME_BYTES} bytes`;
  }
  if (harmless(room) !== room) return "a room's name can't hold control characters";
  return undefined;
}

/** Cuts `text` between code points into pieces of at most `maxBytes` bytes of UTF-8. */
export function pieces(text: string, maxBytes: number): string[] {
  if (utf8Bytes(text) <= maxBytes) return [text];
  const result: string[] = [];
  let piece = "";
  let bytes = 0;
  for (const character of text) {
    const size = utf8Bytes(character);
    if (bytes + size > maxBytes) {
      result.push(piece);
      piece = "";
      bytes = 0;
    }
    piece += character;
    bytes += size;
  }
  result.push(piece);
  return result;
}
