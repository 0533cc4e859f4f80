/** An initramfs: a cpio archive in the "newc" format (Linux, Documentation/driver-api/early-userspace/buffer-format.rst). */
import { readFileSync } from "node:fs";
import { dirname } from "node:path";

interface Node {
  readonly mode: number;
  readonly content: Uint8Array;
}

const FOLDER = 0o040755;
const FILE = 0o100644;
const PROGRAM = 0o100755;
const LINK = 0o120777;

export class Initramfs {
  readonly #nodes = new Map<string, Node>();

  folder(path: string): this {
    if (path === "." || path === "/" || path === "" || this.#nodes.has(path)) return this;
    this.folder(dirname(path));
    this.#nodes.set(path, { mode: FOLDER, content: new Uint8Array(0) });
    return this;
  }

  #add(path: string, mode: number, content: Uint8Array): this {
    this.folder(dirname(path));
    this.#nodes.set(path, { mode, content });
    return this;
  }

  file(path: string, content: string | Uint8Array): this {
    return this.#add(path, FILE, typeof content === "string" ? Buffer.from(content) : content);
  }

  program(path: string, content: string | Uint8Array): this {
    return this.#add(path, PROGRAM, typeof content === "string" ? Buffer.from(content) : content);
  }

  /** Copies a program of the host. */
  copy(from: string, to: string): this {
    return this.#add(to, PROGRAM, readFileSync(from));
  }

  link(path: string, target: string): this {
    return this.#add(path, LINK, Buffer.from(target));
  }

  /** The archive's bytes. */
  bytes(): Uint8Array {
    const parts: Uint8Array[] = [];
    let inode = 1;
    const pad = (bytes: number) => new Uint8Array((4 - (bytes % 4)) % 4);
    const entry = (path: string, { mode, content }: Node) => {
      const name = Buffer.from(`${path.replace(/^\//, "")}\0`);
      const links = mode === FOLDER ? 2 : 1;
      const fields = [inode++, mode, 0, 0, links, 0, content.length, 0, 0, 0, 0, name.length, 0];
      const header = Buffer.from(
        `070701${fields.map((n) => n.toString(16).padStart(8, "0")).join("")}`,
      );
      parts.push(header, name, pad(header.length + name.length), content, pad(content.length));
    };
    for (const [path, node] of this.#nodes) entry(path, node);
    entry("TRAILER!!!", { mode: 0, content: new Uint8Array(0) });
    return Buffer.concat(parts);
  }
}
