/**
 * A relay that can't be trusted: stands between a client and the real relay, sees every frame that
 * the relay sends, and may change what the client gets.
 */
import type { Socket } from "bun";
import { encodeFrame, FrameParser } from "../../src/protocol/frame.ts";

/** What the client gets instead of a frame of the relay's: none, one or several frames. */
export type Tamper = (type: number, body: Uint8Array) => Uint8Array[];

interface Pair {
  readonly parser: FrameParser;
  readonly early: Uint8Array[];
  upstream: Socket | undefined;
  client: Socket<Pair>;
}

export class HostileRelay {
  /** Every byte that passed, in both directions. */
  readonly capture: Uint8Array[] = [];
  tamper: Tamper = (type, body) => [encodeFrame(type, body)];
  readonly port: number;
  readonly #pairs = new Set<Pair>();
  readonly #listener;

  constructor(relayPort: number) {
    this.#listener = Bun.listen<Pair>({
      hostname: "127.0.0.1",
      port: 0,
      socket: {
        open: (client) => this.#open(client, relayPort),
        data: ({ data: pair }, chunk) => {
          this.capture.push(Uint8Array.from(chunk));
          if (pair.upstream === undefined) pair.early.push(Uint8Array.from(chunk));
          else pair.upstream.write(chunk);
        },
        close: ({ data: pair }) => {
          this.#pairs.delete(pair);
          pair.upstream?.end();
        },
        error: () => undefined,
      },
    });
    this.port = this.#listener.port;
  }

  #open(client: Socket<Pair>, relayPort: number): void {
    const pair: Pair = { parser: new FrameParser(70_000), early: [], upstream: undefined, client };
    client.data = pair;
    this.#pairs.add(pair);
    void Bun.connect({
      hostname: "127.0.0.1",
      port: relayPort,
      socket: {
        open: (upstream) => {
          pair.upstream = upstream;
          for (const chunk of pair.early) upstream.write(chunk);
        },
        data: (_, chunk) => {
          this.capture.push(Uint8Array.from(chunk));
          pair.parser.feed(chunk, (type, bytes, start, end) => {
            for (const frame of this.tamper(type, bytes.slice(start, end)))
              pair.client.write(frame);
            return undefined;
          });
        },
        close: () => {
          pair.client.end();
        },
        error: () => undefined,
      },
    }).catch(() => pair.client.end());
  }

  /** Sends a frame to every client as if it came from the relay. */
  inject(frame: Uint8Array): void {
    for (const pair of this.#pairs) pair.client.write(frame);
  }

  /** Cuts all connections at once, as a network does. */
  cut(): void {
    for (const pair of this.#pairs) {
      pair.client.terminate();
      pair.upstream?.terminate();
    }
  }

  stop(): void {
    this.cut();
    this.#listener.stop(true);
  }
}
