/**
 * What a program may rely on of src/transport.ts, whoever plays it: Bun's sockets and the simulator's
 * (test/sim/network.ts) pass the same tests.
 */
import { describe, expect, test } from "bun:test";
import type {
  ByteSocket,
  ClientTransport,
  ServerTransport,
  TlsIdentity,
  TlsOptions,
} from "../../src/transport.ts";
import { End } from "./socket-end.ts";

/** Where the sockets of one test live. */
export interface SocketWorld {
  readonly server: ServerTransport;
  readonly client: ClientTransport;
  readonly host: string;
  readonly tls?: { readonly identity: TlsIdentity; readonly options: TlsOptions };
  /** Waits until `condition` is true. @throws Error with `what` when it does not become so */
  until(what: string, condition: () => boolean): Promise<void>;
  /** Lets whatever would still come, come. */
  idle(): Promise<void>;
}

/** More than any buffer on the way holds, in bytes. */
const MUCH = 32 << 20;
const SOME = 300_000;

/** Bytes that tell their places. */
function pattern(length: number, salt = 0): Uint8Array {
  const bytes = new Uint8Array(length);
  for (let i = 0; i < length; i++) bytes[i] = (i * 7 + (i >> 8) * 13 + salt) & 0xff;
  return bytes;
}

export function socketContract(name: string, world: () => SocketWorld): void {
  describe(name, () => {
    const listen = (w: SocketWorld, accept: (socket: ByteSocket) => End, port = 0) =>
      w.server.listen({ host: w.host, port, tls: w.tls?.identity }, accept);

    const connect = (w: SocketWorld, port: number, end = new End()) => {
      w.client.connect({ host: w.host, port }, w.tls?.options, end);
      return end;
    };

    /** A listener, and both ends of a connection to it. */
    async function pair(w: SocketWorld) {
      const accepted: End[] = [];
      const listener = listen(w, (socket) => {
        const end = new End();
        end.open(socket);
        accepted.push(end);
        return end;
      });
      const near = connect(w, listener.port);
      await w.until("the connection", () => near.isOpen && accepted.length === 1);
      const [far] = accepted;
      if (far === undefined) throw new Error("nobody was accepted");
      return { near, far, listener, accepted };
    }

    test("bytes arrive in order, both ways at once; a buffer may be reused after a write", async () => {
      const w = world();
      const { near, far, listener } = await pair(w);
      near.send(pattern(SOME, 1));
      far.send(pattern(SOME, 2));
      await w.until("all", () => near.got === SOME && far.got === SOME);
      expect(far.bytes().equals(pattern(SOME, 1))).toBe(true);
      expect(near.bytes().equals(pattern(SOME, 2))).toBe(true);
      listener.stop();
    });

    test("a full buffer takes less and says when it has room again", async () => {
      const w = world();
      const { near, far, listener } = await pair(w);
      far.socket.pause();
      near.send(pattern(MUCH));
      expect(near.unsent).toBeGreaterThan(0);
      await w.idle();
      expect(near.unsent).toBeGreaterThan(0);
      const full = near.socket.write(pattern(MUCH));
      expect(full).toBeLessThan(MUCH);
      // What that took is not part of the pattern.
      far.socket.resume();
      await w.until("room", () => near.unsent === 0);
      await w.until("all", () => far.got === MUCH + full);
      listener.stop();
    });

    test("offset and length say which bytes; none are none", async () => {
      const w = world();
      const { near, far, listener } = await pair(w);
      expect(near.socket.write(new Uint8Array(0))).toBe(0);
      expect(near.socket.write(Uint8Array.of(1, 2, 3, 4), 1, 1)).toBe(1);
      await w.until("it", () => far.got === 1);
      expect([...far.bytes()]).toEqual([2]);
      listener.stop();
    });

    test("end: all that was written arrives, both sides are told once, nothing can be written", async () => {
      const w = world();
      const { near, far, listener } = await pair(w);
      near.send(pattern(SOME), () => near.socket.shutdown());
      await w.until("the ends", () => near.closes === 1 && far.closes === 1);
      expect(far.bytes().equals(pattern(SOME))).toBe(true);
      expect(near.socket.write(Uint8Array.of(1))).toBeLessThan(0);
      expect(far.socket.write(Uint8Array.of(1))).toBeLessThan(0);
      await w.idle();
      expect([near.closes, far.closes]).toEqual([1, 1]);
      listener.stop();
    });

    test("end: what the other side has written by then still comes", async () => {
      const w = world();
      const { near, far, listener } = await pair(w);
      near.socket.pause();
      far.onData = () => {
        if (far.got === 5) far.send(pattern(100));
      };
      near.socket.write(pattern(5));
      await w.until("the answer's way", () => far.got === 5);
      near.socket.shutdown();
      expect(near.closes).toBe(0);
      expect(near.socket.write(Uint8Array.of(1))).toBeLessThan(0);
      near.socket.resume();
      await w.until("the ends", () => near.closes === 1 && far.closes === 1);
      expect(near.bytes().equals(pattern(100))).toBe(true);
      listener.stop();
    });

    test("end: last words reach a peer that has sent what will never be read", async () => {
      const w = world();
      const { near, far, listener } = await pair(w);
      far.socket.pause();
      near.send(pattern(SOME));
      await w.idle();
      // More than the peer has room for at once: the rest is still to go out when `end` is called.
      const words = pattern(1 << 20);
      far.send(words, () => far.socket.shutdown());
      await w.until("the end", () => near.closes === 1);
      expect(near.bytes().equals(words)).toBe(true);
      far.socket.terminate();
      listener.stop();
    });

    test("terminate: told before it returns, and to the other side after a while, once each", async () => {
      const w = world();
      const { near, far, listener } = await pair(w);
      far.socket.terminate();
      expect(far.closes).toBe(1);
      expect(far.socket.write(Uint8Array.of(1))).toBeLessThan(0);
      for (const touch of ["terminate", "shutdown", "pause", "resume"] as const)
        far.socket[touch]();
      await w.until("the other side", () => near.closes === 1);
      expect(near.socket.write(Uint8Array.of(1))).toBeLessThan(0);
      await w.idle();
      expect([near.closes, far.closes]).toEqual([1, 1]);
      listener.stop();
    });

    test("terminate while bytes are handed over: none follow", async () => {
      const w = world();
      const { near, far, listener } = await pair(w);
      far.onData = () => far.socket.terminate();
      near.send(pattern(SOME));
      await w.until("the ends", () => near.closes === 1 && far.closes === 1);
      expect(far.chunks).toBe(1);
      listener.stop();
    });

    test("terminate as soon as it is there, on either side: told once", async () => {
      const w = world();
      const accepted: End[] = [];
      const listener = listen(w, (socket) => {
        const end = new End();
        end.open(socket);
        accepted.push(end);
        if (accepted.length === 1) socket.terminate();
        return end;
      });
      const first = connect(w, listener.port);
      await w.until("the first's end", () => first.closes === 1 && accepted[0]?.closes === 1);
      const second = new End();
      second.onOpen = () => second.socket.terminate();
      connect(w, listener.port, second);
      await w.until("the second's end", () => second.closes === 1);
      await w.idle();
      expect([first.closes, second.closes]).toEqual([1, 1]);
      for (const end of accepted) expect(end.closes).toBe(1);
      listener.stop();
    });

    test("pause: nothing comes, not the end either, until resume", async () => {
      const w = world();
      const { near, far, listener } = await pair(w);
      far.socket.pause();
      near.socket.write(pattern(5));
      near.socket.shutdown();
      await w.idle();
      expect([far.got, far.closes]).toEqual([0, 0]);
      far.socket.resume();
      await w.until("the end", () => far.closes === 1);
      expect(far.got).toBe(5);
      listener.stop();
    });

    test("pause while bytes are handed over: that chunk was the last", async () => {
      const w = world();
      const { near, far, listener } = await pair(w);
      far.onData = () => far.socket.pause();
      near.send(pattern(SOME));
      await w.until("a chunk", () => far.chunks === 1);
      await w.idle();
      expect(far.chunks).toBe(1);
      far.onData = () => undefined;
      far.socket.resume();
      await w.until("all", () => far.got === SOME);
      expect(far.bytes().equals(pattern(SOME))).toBe(true);
      listener.stop();
    });

    test("pause and resume while bytes are handed over: reading goes on", async () => {
      const w = world();
      const { near, far, listener } = await pair(w);
      far.onData = () => {
        far.socket.pause();
        far.socket.resume();
      };
      near.send(pattern(SOME));
      await w.until("all", () => far.got === SOME);
      listener.stop();
    });

    test("where nobody listens: told why, once and later", async () => {
      const w = world();
      const listener = listen(w, () => new End());
      listener.stop();
      const end = connect(w, listener.port);
      expect(end.closes).toBe(0);
      await w.until("the reason", () => end.closes === 1);
      expect(end.why).toBe("nothing listens there (is chat-server running?)");
      await w.idle();
      expect([end.isOpen, end.closes]).toEqual([false, 1]);
    });

    test("a listener that stops keeps its connections and takes no more", async () => {
      const w = world();
      const { near, far, listener, accepted } = await pair(w);
      listener.stop();
      const late = connect(w, listener.port);
      await w.until("the refusal", () => late.closes === 1);
      near.send(pattern(SOME));
      await w.until("all", () => far.got === SOME);
      expect(accepted.length).toBe(1);
      near.socket.shutdown();
      await w.until("the end", () => far.closes === 1);
    });

    test("an accept that throws refuses that connection, and no other", async () => {
      const w = world();
      let calls = 0;
      const served = new End();
      const listener = listen(w, (socket) => {
        calls += 1;
        if (calls === 1) throw new Error("not this one");
        served.open(socket);
        return served;
      });
      const refused = connect(w, listener.port);
      await w.until("the refusal", () => refused.closes === 1);
      const other = connect(w, listener.port);
      await w.until("the other", () => other.isOpen && served.isOpen);
      other.socket.write(pattern(3));
      await w.until("its bytes", () => served.got === 3);
      listener.stop();
    });

    test("a port is one listener's", () => {
      const w = world();
      const listener = listen(w, () => new End());
      let code: unknown;
      try {
        listen(w, () => new End(), listener.port);
      } catch (error) {
        code = error instanceof Error && "code" in error ? error.code : error;
      }
      expect(code).toBe("EADDRINUSE");
      listener.stop();
    });
  });
}
