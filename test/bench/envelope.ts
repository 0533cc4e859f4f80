/** What sealing and opening an envelope costs beside node:crypto's own AES-CBC plus HMAC. */
import { createCipheriv, createHmac, randomFillSync } from "node:crypto";
import { software } from "../../src/crypto/software.ts";
import { OpeningSessions, SealingSession } from "../../src/protocol/envelope.ts";
import { encodePayload, paddedBytes } from "../../src/protocol/payload.ts";
import { median } from "./median.ts";

const KEY = new Uint8Array(32).fill(1);
const ROOM = new Uint8Array(32).fill(2);
const MILLISECONDS = 300;
const TEXTS = [20, 200, 1000, 4000, 16_000];

/** Calls a second. */
function speed(operation: () => void): number {
  const end = performance.now() + MILLISECONDS;
  let calls = 0;
  const began = performance.now();
  while (performance.now() < end) {
    for (let i = 0; i < 16; i++) operation();
    calls += 16;
  }
  return (calls * 1000) / (performance.now() - began);
}

/** The same bytes encrypted and authenticated with nothing around them. */
function bare(bytes: number): () => void {
  const plaintext = new Uint8Array(bytes);
  const iv = new Uint8Array(16);
  const head = new Uint8Array(108 + 16);
  return () => {
    randomFillSync(iv);
    const cipher = createCipheriv("aes-256-cbc", KEY, iv);
    const parts = [cipher.update(plaintext), cipher.final()];
    const hmac = createHmac("sha512", KEY).update(head);
    for (const part of parts) hmac.update(part);
    hmac.digest();
  };
}

function row(bytes: number, runs: number): string {
  const payload = {
    kind: "text" as const,
    time: 1,
    sender: new Uint8Array(16),
    number: 1,
    nick: "ann",
    text: "x".repeat(bytes),
  };
  const sealing = new SealingSession(software, KEY, ROOM);
  const opening = new OpeningSessions(software, KEY, ROOM);
  const write = (buffer: Uint8Array, at: number) => encodePayload(payload, buffer, at);
  const seal = () => {
    sealing.seal(write);
  };
  const both = () => {
    opening.open(sealing.seal(write));
  };
  const padded = paddedBytes(36 + 3 + bytes);
  const node = bare(padded);
  const results = { node: [] as number[], seal: [] as number[], both: [] as number[] };
  for (let run = 0; run < runs; run++) {
    results.node.push(speed(node));
    results.seal.push(speed(seal));
    results.both.push(speed(both));
  }
  const [n, s, b] = [median(results.node), median(results.seal), median(results.both)];
  const micros = (rate: number) => (1e6 / rate).toFixed(1);
  return `| ${bytes} | ${padded + 1} | ${micros(n)} | ${micros(s)} | ${(n / s).toFixed(2)} | ${micros(b)} |`;
}

/** The table as Markdown. */
export function envelopeTable(runs: number): string {
  return [
    "\n## Envelopes in software\n",
    "Time to seal, and node:crypto's own AES-256-CBC plus HMAC-SHA-512 on the same bytes.\n",
    "| text bytes | ciphertext | node:crypto µs | seal µs | ratio | seal and open µs |",
    "|--:|--:|--:|--:|--:|--:|",
    ...TEXTS.map((bytes) => row(bytes, runs)),
  ].join("\n");
}
