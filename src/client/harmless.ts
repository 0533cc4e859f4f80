/** Makes other people's text safe to show: it must not move the cursor or reorder what is read. */

/** C0 and C1 controls, DEL, line and paragraph separators, bidi marks, embeddings and isolates. */
const HARMFUL =
  /[\u0000-\u001f\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]|[\u{e0000}-\u{e007f}]/gu;
const LONE_SURROGATE = /\p{Surrogate}/gu;

function visible(character: string): string {
  const code = character.codePointAt(0) ?? 0;
  if (character === "\t") return " ";
  // The pictures that Unicode has for control characters: ␀ ... ␟ and ␡.
  if (code < 0x20) return String.fromCodePoint(0x2400 + code);
  if (code === 0x7f) return "\u2421";
  return `<U+${code.toString(16).toUpperCase().padStart(4, "0")}>`;
}

/** `text` as one line in which everything that could act on a terminal is made visible. */
export function harmless(text: string): string {
  return text.replace(HARMFUL, visible).replace(LONE_SURROGATE, "\ufffd");
}

/** JSON in which such characters stand as escapes: nothing is lost, nothing acts. */
export function harmlessJson(value: unknown): string {
  return JSON.stringify(value).replace(HARMFUL, (character) =>
    [...Array(character.length).keys()]
      .map((i) => `\\u${character.charCodeAt(i).toString(16).padStart(4, "0")}`)
      .join(""),
  );
}
