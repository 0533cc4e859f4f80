/** Byte streams between a relay and its clients: what both need of a socket, and Bun's TCP and TLS as one. */

/** One end of a connection. What Bun calls a socket is one as it is. */
export interface ByteSocket {
  readonly remoteAddress: string;
  readonly remotePort: number;
  /**
   * Hands over bytes; they may be overwritten once it returns.
   * @returns how many were taken: fewer than `length` when the buffers are full, and `drain` follows
   *   when they have room again; negative when the connection is gone
   */
  write(bytes: Uint8Array, offset?: number, length?: number): number;
  /**
   * Sends a FIN after what has been written. The other side's bytes still come. (Bun's `end` closes both
   * ways at once: a peer that is still sending is reset, and never sees what was written last.)
   */
  shutdown(): void;
  /** Cuts the connection off, both ways, at once. */
  terminate(): void;
  /** Reads no more until `resume`. */
  pause(): void;
  resume(): void;
}

/** What happens to a connection. After `closed` nothing more does. */
export interface SocketHandler {
  /** `chunk` is the handler's during the call only. */
  data(chunk: Uint8Array): void;
  drain(): void;
  closed(): void;
}

/** A certificate and its key, as PEM. */
export interface TlsIdentity {
  readonly cert: string;
  readonly key: string;
}

/** How a client makes sure of its relay. */
export interface TlsOptions {
  /** Certificates, as PEM, that the relay's must come from; undefined for those the system trusts. */
  readonly ca?: string;
}

export interface Listener {
  readonly port: number;
  /** Accepts no more connections; those that are there stay. */
  stop(): void;
}

export interface ListenOptions {
  readonly host: string;
  /** 0 for any that is free. */
  readonly port: number;
  /** Undefined for TCP as it is. */
  readonly tls: TlsIdentity | undefined;
}

export interface ServerTransport {
  /**
   * Listens at once; `accept` gives each connection its handler.
   * @throws Error with a `code` when it can't
   */
  listen(options: ListenOptions, accept: (socket: ByteSocket) => SocketHandler): Listener;
}

/** What happens to a connection that a client makes. */
export interface ClientHandler extends Omit<SocketHandler, "closed"> {
  /** The connection is there, and with TLS the relay's certificate and name have been found right. */
  open(socket: ByteSocket): void;
  /** It is over, or was never made. `why` is for people; nothing follows. */
  closed(why: string): void;
}

export interface ClientTransport {
  /** Connects; what comes of it is told to the handler, later. */
  connect(
    endpoint: { readonly host: string; readonly port: number },
    tls: TlsOptions | undefined,
    handler: ClientHandler,
  ): void;
}
