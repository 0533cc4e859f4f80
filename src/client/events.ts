/** What a chat tells whoever shows it. Nicks and texts are as they came: show them harmless. */
import type { ExitCode } from "../cli/exit.ts";
import type { Kind } from "../protocol/payload.ts";

/** What is known of an entry that was opened and found authentic. */
export interface Said {
  readonly seq: number;
  /** The sender's random number in hex: one run of one client. */
  readonly sender: string;
  /** The nick, told apart from others that are the same. */
  readonly name: string;
  readonly nick: string;
  /** The sender's clock, in milliseconds since 1970. */
  readonly time: number;
  readonly own: boolean;
  /** Sent before this client joined. */
  readonly history: boolean;
}

export type ChatEvent =
  | { readonly type: "connecting"; readonly attempt: number }
  | {
      readonly type: "connected";
      /** Whether this client was connected before. Told again once such a connection proves good. */
      readonly again: boolean;
      /** Entries that follow at once. */
      readonly history: number;
      /** The relay no longer has the log that this client has read entries of. */
      readonly newLog: boolean;
    }
  | {
      /** Told once for each reason, until a connection has proved good. */
      readonly type: "disconnected";
      readonly why: string;
      readonly retryMs: number;
      /** Tries that have failed since then. */
      readonly attempt: number;
    }
  | ({ readonly type: "said"; readonly kind: Kind; readonly text: string } & Said)
  | { readonly type: "delivered"; readonly seq: number; readonly numbers: readonly number[] }
  | { readonly type: "lost"; readonly name: string; readonly sender: string }
  | { readonly type: "missed"; readonly first: number; readonly count: number }
  | {
      /** A page of earlier entries follows: so many messages, from this entry on. */
      readonly type: "past";
      readonly first: number;
      readonly messages: number;
      readonly refused: number;
    }
  | { readonly type: "warning"; readonly warning: Warning; readonly text: string }
  | { readonly type: "notice"; readonly text: string }
  | { readonly type: "crypto"; readonly text: string }
  | { readonly type: "ended"; readonly exitCode: ExitCode; readonly why: string };

/** What a relay, or somebody on the way to it, must not do and did. */
export type Warning =
  | "forged"
  | "replayed"
  | "skipped"
  | "malformed"
  | "fallback"
  | "undeliverable";
