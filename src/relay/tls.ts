/** The certificate that a relay shows. */
import { readFileSync } from "node:fs";
import { createSecureContext } from "node:tls";
import { reasonOf } from "../reason.ts";
import type { TlsIdentity } from "../transport.ts";

/** Where certificate and key are, as PEM files. */
export interface TlsFiles {
  readonly cert: string;
  readonly key: string;
}

/** Reads certificate and key, and sees that they belong together. @throws Error that names the file */
export function loadTls(files: TlsFiles): TlsIdentity {
  const identity = { cert: read(files.cert), key: read(files.key) };
  try {
    createSecureContext(identity);
  } catch (error) {
    const why = reasonOf(error);
    throw new Error(`${files.cert} and ${files.key} are no certificate and its key (${why})`);
  }
  return identity;
}

function read(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch (error) {
    throw new Error(
      `can't read ${path} (${error instanceof Error && "code" in error ? error.code : error})`,
    );
  }
}
