/** TCP and TLS as Bun has them: src/transport.ts for the programs. */
import type { Socket } from "bun";
import type { ClientTransport, ServerTransport, SocketHandler } from "./transport.ts";

/** Takes the place of a handler that is to be told nothing more. */
const DEAF: SocketHandler = {
  data: () => undefined,
  drain: () => undefined,
  closed: () => undefined,
};

/** A connection is refused, and nothing else happens, when `accept` throws. */
export const BUN_SERVER: ServerTransport = {
  listen: ({ host, port, tls }, accept) =>
    Bun.listen<SocketHandler>({
      hostname: host,
      port,
      ...(tls === undefined ? {} : { tls: { cert: tls.cert, key: tls.key } }),
      socket: {
        open: (socket) => {
          socket.data = DEAF;
          socket.setNoDelay(true);
          try {
            const handler = accept(socket);
            // It may have been terminated meanwhile, when there was no handler yet to tell.
            if (socket.readyState < 0) handler.closed();
            else socket.data = handler;
          } catch {
            socket.terminate();
          }
        },
        data: (socket, chunk) => socket.data.data(chunk),
        drain: (socket) => socket.data.drain(),
        close: (socket) => {
          const handler = socket.data;
          socket.data = DEAF;
          handler.closed();
        },
        error: (socket) => socket.terminate(),
        timeout: (socket) => socket.terminate(),
      },
    }),
};

/** With TLS nothing is sent before the relay's certificate and name have been found right. */
export const BUN_CLIENT: ClientTransport = {
  connect({ host, port }, tls, handler) {
    let opened = false;
    let over = false;
    const close = (why: string) => {
      if (over) return;
      over = true;
      handler.closed(why);
    };
    const open = (socket: Socket) => {
      opened = true;
      socket.setNoDelay(true);
      handler.open(socket);
    };
    Bun.connect({
      hostname: host,
      port,
      ...(tls === undefined ? {} : { tls: { ...tls, serverName: host } }),
      socket: {
        open: (socket) => {
          if (tls === undefined) open(socket);
        },
        handshake: (socket, verified, error) => {
          if (over) return;
          if (verified) {
            open(socket);
            return;
          }
          const code = error !== null && "code" in error ? String(error.code) : "";
          close(tlsProblem(code, error?.message ?? "no reason given"));
          socket.terminate();
        },
        data: (_, chunk) => {
          if (opened && !over) handler.data(chunk);
        },
        drain: () => {
          if (opened && !over) handler.drain();
        },
        close: (_, error) => close(error?.message ?? "the relay closed the connection"),
        error: (socket, error) => {
          close(error.message);
          socket.terminate();
        },
        connectError: (_, error) => close(connectProblem(error)),
      },
    }).catch((error: unknown) => close(connectProblem(error)));
  },
};

/** How the reason begins that is given for a certificate that is not to be trusted. */
export const UNTRUSTED = "the relay can't be trusted";

/** What a failed TLS handshake means. */
function tlsProblem(code: string, message: string): string {
  switch (code) {
    case "ERR_TLS_CERT_ALTNAME_INVALID":
      return `${UNTRUSTED}: its certificate is for another name (${message})`;
    case "CERT_HAS_EXPIRED":
      return `${UNTRUSTED}: its certificate has expired`;
    case "ECONNRESET":
    case "EPROTO":
      return "the relay speaks no TLS there, or not this client's (try without --tls)";
    default:
      return `${UNTRUSTED}: ${message} (name its issuer's certificate with --tls-ca)`;
  }
}

/** The reason given for a host name that can't be resolved. */
export const HOST_UNKNOWN = "the host is not known";

/** What a failed connection means. */
function connectProblem(error: unknown): string {
  const code = error instanceof Error && "code" in error ? String(error.code) : "";
  switch (code) {
    case "ECONNREFUSED":
      return "nothing listens there (is chat-server running?)";
    case "ENOTFOUND":
    case "EAI_AGAIN":
    case "DNS_ENOTFOUND":
      return HOST_UNKNOWN;
    default:
      return error instanceof Error ? `${error.message}${code ? ` (${code})` : ""}` : String(error);
  }
}
