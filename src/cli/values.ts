/** Values from the command line, checked at the door. */
import { isIPv6 } from "node:net";
import { EXIT, ExitError } from "./exit.ts";

/**
 * A whole number within bounds. K, M and G after it mean 1,024 to the power of 1, 2 and 3.
 * @throws ExitError USAGE that names the option and its bounds
 */
export function wholeNumber(option: string, text: string, min: number, max: number): number {
  const match = text.match(/^(\d{1,15})([KMG]?)$/i);
  const unit = 1024 ** ("KMG".indexOf((match?.[2] || "-").toUpperCase()) + 1);
  const value = match === null ? Number.NaN : Number(match[1]) * unit;
  if (!(value >= min && value <= max)) {
    throw new ExitError(
      EXIT.USAGE,
      `--${option} takes a whole number from ${min} to ${max}, not "${text}"`,
    );
  }
  return value;
}

export const DEFAULT_PORT = 35001;

export interface Endpoint {
  readonly host: string;
  readonly port: number;
}

/**
 * HOST, HOST:PORT, an IPv6 address, or [IPv6]:PORT.
 * @throws ExitError USAGE
 */
export function endpoint(text: string): Endpoint {
  const [, bracketed, portAfter] = text.match(/^\[([^\]]+)\](?::(\d{1,5}))?$/) ?? [];
  const [, name, portOfName] = text.match(/^([^:[\]\s]+)(?::(\d{1,5}))?$/) ?? [];
  const v6 = [bracketed, text].find((host) => host !== undefined && isIPv6(host));
  const host = v6 ?? name;
  const port = v6 === undefined ? portOfName : portAfter;
  const number = port === undefined ? DEFAULT_PORT : Number(port);
  if (host === undefined || number < 1 || number > 65535) {
    throw new ExitError(EXIT.USAGE, `"${text}" is no HOST or HOST:PORT (port 1 to 65535)`);
  }
  return { host, port: number };
}
