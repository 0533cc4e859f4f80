/** The published vectors, and those of docs/protocol.md that OpenSSL makes. */
import { describe, expect, test } from "bun:test";
import { argon2Sync } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { Primitives } from "../src/crypto/backend.ts";
import vector from "../src/crypto/rfc7518-b3.json" with { type: "json" };
import { selfTest } from "../src/crypto/selftest.ts";
import { software } from "../src/crypto/software.ts";
import { IV_BYTES, open, seal } from "../src/crypto/suite.ts";
import { OpeningSessions, PAYLOAD_AT } from "../src/protocol/envelope.ts";
import { ARGON2ID, fingerprint, passphraseKey, roomId, sessionKeys } from "../src/protocol/keys.ts";
import { decodePayload, encodePayload } from "../src/protocol/payload.ts";
import { ROOT } from "../src/setup/build.ts";

const hex = (text: string) => new Uint8Array(Buffer.from(text, "hex"));
const toHex = (bytes: Uint8Array) => Buffer.from(bytes).toString("hex");

describe("RFC 7518 appendix B.3", () => {
  const key = hex(vector.K);
  const associated = hex(vector.A);
  const ivAt = associated.length;
  const sealed = hex(vector.A + vector.IV + vector.E + vector.T);

  test("is what sealing gives", () => {
    const buffer = new Uint8Array(sealed.length);
    buffer.set(Buffer.concat([associated, hex(vector.IV), hex(vector.P)]));
    const keys = software.open(key.subarray(32), key.subarray(0, 32));
    expect(seal(keys, buffer, 0, ivAt, hex(vector.P).length)).toBe(sealed.length);
    expect(toHex(buffer)).toBe(toHex(sealed));
  });

  test("opens, and with any single bit changed does not", () => {
    const keys = software.open(key.subarray(32), key.subarray(0, 32));
    const buffer = Uint8Array.from(sealed);
    const length = open(keys, buffer, 0, ivAt, sealed.length);
    const at = ivAt + IV_BYTES;
    expect(toHex(buffer.subarray(at, at + length))).toBe(vector.P);
    for (let bit = 0; bit < sealed.length * 8; bit++) {
      const forged = Uint8Array.from(sealed);
      forged[bit >> 3] = (forged[bit >> 3] as number) ^ (1 << (bit & 7));
      expect(open(keys, forged, 0, ivAt, sealed.length)).toBe(-1);
    }
  });

  test("is refused when it is cut anywhere", () => {
    const keys = software.open(key.subarray(32), key.subarray(0, 32));
    for (let end = ivAt; end < sealed.length; end++) {
      expect(open(keys, Uint8Array.from(sealed), 0, ivAt, end)).toBe(-1);
    }
  });

  test("is the self-test, which a backend with a wrong bit fails", () => {
    expect(() => selfTest(software)).not.toThrow();
    const wrong = {
      ...software,
      open: (encryptionKey: Uint8Array, macKey: Uint8Array) => {
        const keys = software.open(encryptionKey, macKey);
        const wrongMac: Primitives = {
          encrypt: keys.encrypt.bind(keys),
          decrypt: keys.decrypt.bind(keys),
          mac: (buffer: Uint8Array, at: number, length: number, digest: Uint8Array) => {
            keys.mac(buffer, at, length, digest);
            digest[0] = (digest[0] as number) ^ 1;
          },
        };
        return {
          seal: seal.bind(undefined, wrongMac),
          open: open.bind(undefined, wrongMac),
          close: keys.close.bind(keys),
        };
      },
    };
    expect(() => selfTest(wrong)).toThrow("wrong answer in the self-test");
  });
});

test("RFC 9106 section 5.3: Argon2id's vector comes out of the implementation in use", () => {
  const tag = argon2Sync("argon2id", {
    message: new Uint8Array(32).fill(1),
    nonce: new Uint8Array(16).fill(2),
    secret: new Uint8Array(8).fill(3),
    associatedData: new Uint8Array(12).fill(4),
    parallelism: 4,
    memory: 32,
    passes: 3,
    tagLength: 32,
  });
  expect(tag.toString("hex")).toBe(
    "0d640df58d78766c08c037a34a8b53c9d01ef0452d75b65eb52520e96b01e659",
  );
});

describe("docs/protocol.md", () => {
  const document = readFileSync(join(ROOT, "docs/protocol.md"), "utf8");
  const vectors = document.slice(document.indexOf("## Test vectors"));
  const script = vectors.match(/```sh\n(.*?)```/s)?.[1] ?? "";
  const expected = vectors.match(/```text\n(.*?)```/s)?.[1] ?? "";
  const values = new Map(
    expected
      .trim()
      .split("\n")
      .map((line) => line.split(/ {2,}/) as [string, string]),
  );
  const value = (name: string) => values.get(name) ?? "";
  const roomKey = Uint8Array.from({ length: 32 }, (_, i) => i);
  const salt = Uint8Array.from({ length: 32 }, (_, i) => 0x20 + i);

  test("OpenSSL prints the vectors that stand there", () => {
    const { stdout, exitCode } = Bun.spawnSync(["bash", "-c", script]);
    expect(exitCode).toBe(0);
    expect(stdout.toString()).toBe(expected);
    expect(values.size).toBe(6);
  });

  test("the key schedule gives them", () => {
    const id = roomId(roomKey, "lobby");
    expect(toHex(id)).toBe(value("room id"));
    const keys = sessionKeys(roomKey, id, salt);
    expect(toHex(keys.macKey)).toBe(value("mac key"));
    expect(toHex(keys.encryptionKey)).toBe(value("enc key"));
  });

  test("the envelope opens to the payload described", () => {
    const opening = new OpeningSessions(software, roomKey, roomId(roomKey, "lobby"));
    const opened = opening.open(hex(value("envelope")));
    if (opened.verdict !== "ok") throw new Error(opened.verdict);
    const payload = decodePayload(opened.buffer, PAYLOAD_AT, opened.end);
    expect({ ...payload, sender: toHex(payload.sender) }).toEqual({
      kind: "text",
      time: 1_700_000_000_000,
      sender: "505152535455565758595a5b5c5d5e5f",
      number: 1,
      nick: "ann",
      text: "hello",
    });
    // And the other way: the code lays the payload out and seals it into the same bytes.
    const envelope = hex(value("envelope"));
    const ad = Buffer.concat([
      Buffer.from("virtio-cryptodev-chat 1 envelope"),
      hex(value("room id")),
      envelope.subarray(0, 44),
    ]);
    const buffer = new Uint8Array(ad.length + envelope.length - 44);
    buffer.set(ad);
    buffer.set(envelope.subarray(44, 60), ad.length);
    const length = encodePayload(payload, buffer, ad.length + IV_BYTES);
    const keys = software.open(hex(value("enc key")), hex(value("mac key")));
    expect(seal(keys, buffer, 0, ad.length, length)).toBe(buffer.length);
    expect(toHex(buffer.subarray(ad.length))).toBe(toHex(envelope.subarray(44)));
  });

  test("the fingerprint is five groups of five digits of its bytes", () => {
    const bytes = Buffer.from(value("fingerprint"), "hex");
    const groups = [0, 8, 16, 24, 32].map((at) =>
      String(bytes.readBigUInt64BE(at) % 100_000n).padStart(5, "0"),
    );
    expect(fingerprint(roomKey)).toBe(groups.join(" "));
  });

  test("a passphrase's key is Argon2id with that salt and RFC 9106's second parameters", async () => {
    const expectedKey = argon2Sync("argon2id", {
      message: Buffer.from("caf\u00e9 au lait"),
      nonce: hex(value("pass salt")),
      parallelism: 4,
      memory: 65_536,
      passes: 3,
      tagLength: 32,
    });
    expect(ARGON2ID).toEqual({ parallelism: 4, memory: 65_536, passes: 3, tagLength: 32 });
    // Typed with a combining accent, it is the same passphrase.
    expect(toHex(await passphraseKey("cafe\u0301 au lait", "lobby"))).toBe(
      expectedKey.toString("hex"),
    );
  });
});
