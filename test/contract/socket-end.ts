/** One end of a connection in a test: sends what it is given, and keeps what it is told. */
import type { ByteSocket, ClientHandler } from "../../src/transport.ts";

/** Written at once, at most, in bytes. */
const PORTION = 65_536;

export class End implements ClientHandler {
  closes = 0;
  why: string | undefined;
  got = 0;
  chunks = 0;
  /** Called after each chunk. */
  onData: () => void = () => undefined;
  onOpen: () => void = () => undefined;
  readonly #received: Buffer[] = [];
  #socket: ByteSocket | undefined;
  #unsent = new Uint8Array(0);
  #onSent: (() => void) | undefined;

  get isOpen(): boolean {
    return this.#socket !== undefined;
  }

  get socket(): ByteSocket {
    if (this.#socket === undefined) throw new Error("there is no connection yet");
    return this.#socket;
  }

  /** Bytes that the socket has not taken yet. */
  get unsent(): number {
    return this.#unsent.length;
  }

  /** All that has come. */
  bytes(): Buffer {
    return Buffer.concat(this.#received);
  }

  open(socket: ByteSocket): void {
    this.#check("open");
    this.#socket = socket;
    this.onOpen();
  }

  data(chunk: Uint8Array): void {
    this.#check("data");
    if (chunk.length === 0) throw new Error("a chunk of nothing");
    this.chunks += 1;
    this.got += chunk.length;
    this.#received.push(Buffer.from(chunk));
    this.onData();
  }

  drain(): void {
    this.#check("drain");
    this.#flush();
  }

  closed(why?: string): void {
    this.#check("closed");
    this.closes += 1;
    this.why = why;
  }

  #check(what: string): void {
    if (this.closes > 0) throw new Error(`${what} after closed`);
  }

  /** Writes `bytes`, in as many portions as it takes. */
  send(bytes: Uint8Array, onSent?: () => void): void {
    this.#unsent = bytes.slice();
    this.#onSent = onSent;
    this.#flush();
  }

  #flush(): void {
    const portion = new Uint8Array(PORTION);
    while (this.#unsent.length > 0) {
      const length = Math.min(PORTION, this.#unsent.length);
      portion.set(this.#unsent.subarray(0, length));
      const taken = this.socket.write(portion, 0, length);
      // It is the socket's no more.
      portion.fill(0);
      if (taken < 0) return;
      this.#unsent = this.#unsent.subarray(taken);
      if (taken < length) return;
    }
    this.#onSent?.();
    this.#onSent = undefined;
  }
}
