/** The relay: accepts connections, brings them to their rooms, and ends. */
import { GoneReason } from "../protocol/entry.ts";
import { type CodeName, ProtocolError } from "../protocol/errors.ts";
import { FrameType } from "../protocol/frame.ts";
import { encodeRemark, type Hello } from "../protocol/messages.ts";
import { reasonOf } from "../reason.ts";
import { type Alarm, type Clock, pause, type Runtime } from "../runtime.ts";
import type {
  ByteSocket,
  Listener,
  ServerTransport,
  SocketHandler,
  TlsIdentity,
} from "../transport.ts";
import { checkAccess } from "./access.ts";
import { addressKey, hostPort } from "./address.ts";
import { Admission } from "./admission.ts";
import { Connection, type Host } from "./connection/connection.ts";
import { checkDeadlines, LINGER_MS } from "./deadlines.ts";
import { Health } from "./health.ts";
import type { Limits } from "./limits.ts";
import type { Budget } from "./log/budget.ts";
import type { Logs } from "./log/log.ts";
import { Counters, type Gauges } from "./metrics.ts";
import type { Report } from "./report.ts";
import { Registry, type RegistryHost } from "./rooms/registry.ts";
import type { Room } from "./rooms/room.ts";
import { isToken, Takeover, tokenName } from "./rooms/takeover.ts";

/** How often deadlines are looked at, in milliseconds. */
const SWEEP_MS = 1000;
/** Clients that are told why they can't come in, at the same time; more are cut off. */
export const MOST_TURNED_AWAY = 16;
/** How often entries that are too old are deleted, in milliseconds. */
const EXPIRE_MS = 60_000;

export interface RelayOptions {
  readonly host: string;
  readonly port: number;
  readonly limits: Limits;
  readonly report: Report;
  readonly runtime: Runtime;
  readonly transport: ServerTransport;
  /** What keeps the rooms. */
  readonly logs: Logs;
  /** The memory of all rooms together, as the logs count it too. */
  readonly budget: Budget;
  /** The certificate of a relay that speaks TLS, and only that; undefined for one without. */
  readonly tls: TlsIdentity | undefined;
  /** What clients must have to be let in, 32 bytes; undefined lets all in. */
  readonly accessKey: Uint8Array | undefined;
}

export class Relay implements Host, RegistryHost {
  limits: Limits;
  readonly counters = new Counters();
  readonly clock: Clock;
  readonly #options: RelayOptions;
  readonly #report: Report;
  readonly #logs: Logs;
  readonly #registry: Registry;
  readonly #takeover = new Takeover();
  readonly #admission = new Admission();
  readonly #health = new Health();
  readonly #connections = new Set<Connection>();
  readonly #sweeper: Alarm;
  #listener: Listener;
  readonly #port: number;
  #lastNumber: number;
  #expiredAt = Number.NEGATIVE_INFINITY;
  #expiring = false;
  #turnedAway = 0;
  /** The certificate that is to be shown, while listening anew does not work. */
  #unshown: TlsIdentity | undefined;
  #stopping: Promise<void> | undefined;

  /** Starts to listen; throws what the transport throws when it can't. */
  constructor(options: RelayOptions) {
    this.#options = options;
    this.limits = options.limits;
    this.clock = options.runtime.clock;
    this.#report = options.report;
    this.#logs = options.logs;
    // Not from 1 on, so that numbers in entries that were kept are not given again.
    const random = options.runtime.random(new Uint8Array(4));
    this.#lastNumber = new DataView(random.buffer, random.byteOffset).getUint32(0);
    this.#registry = new Registry(options.logs, options.budget, this);
    this.#listener = this.#listen(options.port, options.tls);
    this.#port = this.#listener.port;
    this.#sweeper = this.clock.every(SWEEP_MS, () => this.#sweep());
    if (options.tls !== undefined) this.#report.state("speaking TLS");
    this.#report.state(`listening on ${hostPort(options.host, this.port)}`);
  }

  #listen(port: number, tls: TlsIdentity | undefined): Listener {
    const { transport, host } = this.#options;
    return transport.listen({ host, port, tls }, (socket) => this.#accept(socket));
  }

  /** From now on new clients are shown another certificate; those that are there stay. */
  showCertificate(tls: TlsIdentity): void {
    // There is no other way than to listen anew. Who comes in between tries again.
    this.#listener.stop();
    const waits = this.#unshown !== undefined;
    this.#unshown = tls;
    if (!waits) this.#listenAgain();
  }

  /** The port may be somebody else's for a moment: without a listener a relay is of no use. */
  #listenAgain(): void {
    if (this.#stopping !== undefined) return;
    try {
      this.#listener = this.#listen(this.#port, this.#unshown);
      this.#unshown = undefined;
      this.#health.listening = undefined;
    } catch (error) {
      this.#health.listening = `can't listen on port ${this.#port} again (${reasonOf(error)})`;
      this.#report.problem(`${this.#health.listening}; trying on`);
      this.clock.after(SWEEP_MS, () => this.#listenAgain());
    }
  }

  get port(): number {
    return this.#port;
  }

  /** What is so now. */
  get gauges(): Gauges {
    return {
      connections: this.#connections.size,
      rooms: this.#registry.size,
      roomsKept: this.#logs.kept,
      memoryBytes: this.#options.budget.used,
      stopping: this.#stopping !== undefined,
      limits: this.limits,
      trouble: this.#logs.trouble ?? this.#health.trouble(this.clock.now()),
    };
  }

  #accept(socket: ByteSocket): SocketHandler {
    const peer = hostPort(socket.remoteAddress, socket.remotePort);
    const address = addressKey(socket.remoteAddress);
    const refusal = this.#admission.admit(address, this.limits);
    if (refusal !== undefined) return this.#turnAway(socket, peer, refusal.code, refusal.why);
    this.#lastNumber = (this.#lastNumber + 1) % 0x1_0000_0000;
    const connection = new Connection(socket, this.#lastNumber, { peer, address }, this);
    this.#connections.add(connection);
    this.counters.connections += 1;
    this.#report.info(`${peer} connected`, { event: "connected", peer });
    return connection;
  }

  /** Refuses a connection before it costs anything. */
  #turnAway(socket: ByteSocket, peer: string, code: CodeName, why: string): SocketHandler {
    this.#sayRefused(peer, "refused", code, why);
    // In a flood of them no more than a few may take their time, and a descriptor.
    if (this.#turnedAway >= MOST_TURNED_AWAY) {
      socket.terminate();
      return { data: () => undefined, drain: () => undefined, closed: () => undefined };
    }
    this.#turnedAway += 1;
    socket.write(encodeRemark(FrameType.CLOSE, code, `${why}; try again later`));
    socket.shutdown();
    const linger = this.clock.after(LINGER_MS, () => socket.terminate());
    const closed = () => {
      this.#turnedAway -= 1;
      linger.cancel();
    };
    return { data: () => undefined, drain: () => undefined, closed };
  }

  left(connection: Connection): void {
    this.#connections.delete(connection);
    this.#admission.leave(connection.address);
    this.#leave(connection);
    const { peer, entriesSent: entries } = connection;
    const seconds = Math.round((this.clock.now() - connection.openedAt) / 1000);
    this.#report.info(`${peer} disconnected after ${seconds} s, ${entries} entries sent`, {
      event: "disconnected",
      peer,
      seconds,
      entries,
    });
  }

  async join(connection: Connection, hello: Hello): Promise<Room> {
    checkAccess(this.#options.accessKey, hello);
    const key = Buffer.from(hello.roomId).toString("hex");
    const token = isToken(hello.token) ? tokenName(hello.token) : undefined;
    const earlier = token === undefined ? undefined : this.#takeover.claim(key, token, connection);
    if (earlier !== undefined) this.#replace(earlier);
    for (;;) {
      const room = await this.#registry.find(key);
      if (token !== undefined) await room.visited(room.log.fence(token, earlier?.number));
      // The client may have gone meanwhile, or the room been forgotten or lost.
      if (connection.state !== "joining") return room;
      if ((await this.#registry.find(key)) !== room) continue;
      if (connection.state === "joining") this.#enter(connection, room);
      return room;
    }
  }

  #enter(connection: Connection, room: Room): void {
    room.add(connection);
    const { peer } = connection;
    const short = room.key.slice(0, 8);
    this.#report.info(`${peer} joined room ${short} (${room.size} there)`, {
      event: "joined",
      peer,
      room: short,
      members: room.size,
    });
  }

  replaced(room: Room, token: string): number | undefined {
    const earlier = this.#takeover.holder(room.key, token);
    // The word may be this relay's own, said for the connection that is coming in.
    if (earlier === undefined || earlier.state === "joining") return undefined;
    this.#replace(earlier);
    return earlier.number;
  }

  /** A client came back before its old connection was known dead: that one must not speak again. */
  #replace(earlier: Connection): void {
    earlier.goneReason = GoneReason.REPLACED;
    earlier.close("replaced", "the same client has connected again");
    this.#leave(earlier);
  }

  /** Takes a connection out of its room, if it is in one still. */
  #leave(connection: Connection): void {
    this.#takeover.release(connection);
    const { room } = connection;
    if (room === undefined || connection.memberIndex < 0) return;
    room.remove(connection);
    if (connection.entriesSent === 0) return;
    try {
      room.append(FrameType.GONE, connection.number, Uint8Array.of(connection.goneReason), 0, 1);
    } catch (error) {
      // There is no memory for it: others find out by its silence.
      if (!(error instanceof ProtocolError)) throw error;
    }
  }

  problem(error: unknown): void {
    this.#trouble(error);
  }

  /** Says what the disk or the cluster does not do, and remembers it for who asks after the health. */
  #trouble(error: unknown): ProtocolError {
    if (error instanceof ProtocolError) return error;
    this.counters.problems += 1;
    this.#health.failed(this.clock.now());
    this.#report.problem(reasonOf(error));
    return new ProtocolError("storage", "the relay can't store entries now; try again later");
  }

  committed(): void {
    this.counters.commits += 1;
  }

  notKept(senders: readonly Connection[], error: unknown): void {
    const { code, message } = this.#trouble(error);
    for (const sender of senders) sender.close(code, message);
  }

  refused(connection: Connection, code: CodeName, why: string): void {
    const verb = code === "rate-limited" ? "slowed down" : "refused";
    this.#sayRefused(connection.peer, verb, code, why);
  }

  lost(room: Room, error: unknown): void {
    const { code, message } = this.#trouble(error);
    this.#registry.drop(room);
    for (const member of [...room.members]) {
      member.close(code, message);
      this.#leave(member);
    }
  }

  #sayRefused(peer: string, verb: string, code: CodeName, why: string): void {
    this.counters.refused(code);
    this.#report.refusal(`${peer} ${verb} (${code}): ${why}`, { event: "refused", peer, code });
  }

  #sweep(): void {
    const now = this.clock.now();
    for (const connection of this.#connections) {
      if (!checkDeadlines(connection, now, this.limits))
        this.problem(new Error("rooms can't be had"));
    }
    this.#registry.sweep(now);
    if (now - this.#expiredAt > EXPIRE_MS && !this.#expiring) void this.#expire(now);
    this.#report.sweep();
  }

  async #expire(now: number): Promise<void> {
    this.#expiring = true;
    await this.#registry.expire();
    this.#expiredAt = now;
    this.#expiring = false;
  }

  /** Stops listening, tells every client, waits a little for what they have not been sent. */
  stop(why: string): Promise<void> {
    this.#stopping ??= this.#stop(why);
    return this.#stopping;
  }

  async #stop(why: string): Promise<void> {
    this.#report.state(`${why}: closing ${this.#connections.size} connections`);
    this.#listener.stop();
    const { clock } = this;
    const deadline = clock.now() + LINGER_MS;
    const undrained = () => [...this.#connections].some((c) => c.state === "open" && !c.drained);
    do await pause(clock, 10);
    while (undrained() && clock.now() < deadline);
    for (const connection of this.#connections) {
      connection.close("shutdown", "the relay is shutting down");
    }
    while (this.#connections.size > 0 && clock.now() < deadline + 500) await pause(clock, 10);
    this.#sweeper.cancel();
    for (const connection of this.#connections) connection.terminate();
    await this.#registry.close();
    this.#report.state("stopped");
  }
}
