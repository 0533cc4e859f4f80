import { expect, test } from "bun:test";
import fc from "fast-check";
import { harmless, harmlessJson } from "../src/client/harmless.ts";
import { nickProblem, pieces, utf8Bytes } from "../src/client/text.ts";

const acts = /[\u0000-\u001f\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]/;

test("no text acts on a terminal any more, and plain text stays as it is", () => {
  fc.assert(
    fc.property(fc.string({ unit: "binary" }), (text) => {
      expect(harmless(text)).not.toMatch(acts);
      expect(harmless(harmless(text))).toBe(harmless(text));
      const json = harmlessJson({ text });
      expect(json).not.toMatch(acts);
      expect(JSON.parse(json)).toEqual({ text });
    }),
    { numRuns: 1000 },
  );
  for (const plain of ["héllo wörld", "日本語", "👩‍👩‍👧", "a\u0301", "עברית"])
    expect(harmless(plain)).toBe(plain);
  expect(harmless("\ud800x")).toBe("\ufffdx");
});

test("pieces put together are the text, each within the limit, none splits a character", () => {
  fc.assert(
    fc.property(
      fc.string({ unit: "binary", maxLength: 200 }),
      fc.integer({ min: 4, max: 50 }),
      (text, limit) => {
        const parts = pieces(text, limit);
        expect(parts.join("")).toBe(text);
        for (const part of parts) expect(utf8Bytes(part)).toBeLessThanOrEqual(limit);
      },
    ),
  );
});

test("nicks are short, visible and trimmed", () => {
  expect(nickProblem("ann")).toBeUndefined();
  for (const bad of ["", " ann", "ann ", "a\nb", "a\u202eb", "é".repeat(33)])
    expect(nickProblem(bad)).toBeDefined();
});
