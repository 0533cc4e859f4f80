/** The relay: accepts connections, keeps rooms, and sees that every limit holds. */
import type { Socket, TCPSocketListener } from "bun";
import { GoneReason } from "../protocol/entry.ts";
import { type CodeName, ProtocolError } from "../protocol/errors.ts";
import { FrameType } from "../protocol/frame.ts";
import { encodeRemark, type Hello } from "../protocol/messages.ts";
import { checkAccess } from "./access.ts";
import { addressKey, hostPort } from "./address.ts";
import type { Cluster } from "./cluster.ts";
import { Connection, type Host, peerName } from "./connection.ts";
import type { Limits } from "./limits.ts";
import { Counters, type Gauges } from "./metrics.ts";
import type { Report } from "./report.ts";
import { Room, type RoomHost } from "./room.ts";
import { StorageError } from "./roomfile.ts";
import { type Store, storageRefusal } from "./store.ts";
import type { TlsIdentity } from "./tls.ts";

/** How often deadlines are looked at, in milliseconds. */
const SWEEP_MS = 1000;
/** How often entries that are too old are deleted, in milliseconds. */
const EXPIRE_MS = 60_000;
/** For how long after the disk has failed the relay is called unhealthy, in milliseconds. */
const TROUBLE_MS = 60_000;
/** How long a client may take to close its side after a CLOSE, in milliseconds. */
const LINGER_MS = 2000;

/** What a client's token is called: relays tell each other, and need not know it. */
function tokenName(token: Uint8Array): string {
  return new Bun.CryptoHasher("sha256").update(token).digest("hex").slice(0, 32);
}

const NO_TOKEN = tokenName(new Uint8Array(16));

function message(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

export interface RelayOptions {
  readonly host: string;
  readonly port: number;
  readonly limits: Limits;
  readonly report: Report;
  /** Where rooms are kept; undefined for rooms in memory only. */
  readonly store: Store | undefined;
  /** The other relays that serve the same rooms; undefined for a relay alone. */
  readonly cluster: Cluster | undefined;
  /** The certificate of a relay that speaks TLS, and only that; undefined for one without. */
  readonly tls: TlsIdentity | undefined;
  /** What clients must have to be let in, 32 bytes; undefined lets all in. */
  readonly accessKey: Uint8Array | undefined;
}

export class Relay implements Host, RoomHost {
  limits: Limits;
  readonly counters = new Counters();
  readonly #report: Report;
  readonly #store: Store | undefined;
  readonly #cluster: Cluster | undefined;
  /** Rooms of the cluster that are being found. */
  readonly #coming = new Map<string, Promise<Room>>();
  readonly #host: string;
  readonly #accessKey: Uint8Array | undefined;
  #listener: TCPSocketListener<Connection>;
  readonly #connections = new Set<Connection>();
  readonly #perAddress = new Map<string, number>();
  readonly #rooms = new Map<string, Room>();
  /** The connection that a client's token belongs to, by room and token. */
  readonly #tokens = new Map<string, Connection>();
  readonly #tokenOf = new Map<Connection, string>();
  readonly #waiting: Room[] = [];
  readonly #sweeper: Timer;
  /** Not from 1 on, so that numbers in entries that were kept are not given again. */
  #lastNumber = crypto.getRandomValues(new Uint32Array(1))[0] as number;
  #expiredAt = 0;
  #troubledAt = Number.NEGATIVE_INFINITY;
  #stopping: Promise<void> | undefined;

  /** Starts to listen; throws what Bun.listen throws when it can't. */
  constructor(options: RelayOptions) {
    this.limits = options.limits;
    this.#report = options.report;
    this.#store = options.store;
    this.#cluster = options.cluster;
    this.#host = options.host;
    this.#accessKey = options.accessKey;
    this.#listener = this.#listen(options.port, options.tls);
    this.#sweeper = setInterval(() => this.#sweep(), SWEEP_MS);
    if (options.tls !== undefined) this.#report.state("speaking TLS");
    this.#report.state(`listening on ${hostPort(options.host, this.port)}`);
  }

  #listen(port: number, tls: TlsIdentity | undefined): TCPSocketListener<Connection> {
    return Bun.listen<Connection>({
      hostname: this.#host,
      port,
      ...(tls === undefined ? {} : { tls: { cert: tls.cert, key: tls.key } }),
      socket: {
        open: (socket) => this.#open(socket),
        data: (socket, chunk) => socket.data?.receive(chunk),
        drain: (socket) => socket.data?.drain(),
        close: (socket) => this.#closed(socket),
        error: (socket) => socket.terminate(),
        timeout: (socket) => socket.terminate(),
      },
    });
  }

  /** From now on new clients are shown another certificate; those that are there stay. */
  showCertificate(tls: TlsIdentity): void {
    const port = this.port;
    // There is no other way than to listen anew. Who comes in between tries again.
    this.#listener.stop();
    this.#listener = this.#listen(port, tls);
  }

  get port(): number {
    return this.#listener.port;
  }

  now(): number {
    return performance.now();
  }

  /** What is so now. */
  get gauges(): Gauges {
    const troubled = this.now() - this.#troubledAt < TROUBLE_MS;
    return {
      connections: this.#connections.size,
      rooms: this.#rooms.size,
      roomsKept: this.#store?.files ?? 0,
      stopping: this.#stopping !== undefined,
      limits: this.limits,
      trouble:
        this.#cluster?.connected === false
          ? "the link to the cluster is down"
          : troubled
            ? "storage failed within the last minute; see the log"
            : undefined,
    };
  }

  #open(socket: Socket<Connection>): void {
    const address = addressKey(socket.remoteAddress);
    const fromAddress = this.#perAddress.get(address) ?? 0;
    const { maxConnections, maxPerAddress } = this.limits;
    if (this.#connections.size >= maxConnections) {
      this.#turnAway(socket, "relay-full", `this relay's ${maxConnections} connections are in use`);
      return;
    }
    if (fromAddress >= maxPerAddress) {
      const why = `${maxPerAddress} connections from ${address} are open already`;
      this.#turnAway(socket, "address-full", why);
      return;
    }
    socket.setNoDelay(true);
    this.#perAddress.set(address, fromAddress + 1);
    this.#lastNumber = (this.#lastNumber + 1) % 0x1_0000_0000;
    const connection = new Connection(socket, this.#lastNumber, peerName(socket), this);
    socket.data = connection;
    this.#connections.add(connection);
    this.counters.connections += 1;
    this.#report.info(`${connection.peer} connected`, {
      event: "connected",
      peer: connection.peer,
    });
  }

  /** Refuses a connection before it costs anything. */
  #turnAway(socket: Socket<Connection>, code: CodeName, why: string): void {
    this.counters.refused(code);
    this.#report.refusal(`${peerName(socket)} refused (${code}): ${why}`, {
      event: "refused",
      peer: peerName(socket),
      code,
    });
    socket.timeout(LINGER_MS / 1000);
    socket.end(encodeRemark(FrameType.CLOSE, code, `${why}; try again later`));
  }

  #closed(socket: Socket<Connection>): void {
    const connection = socket.data;
    if (connection === undefined) return;
    connection.closed();
    this.#connections.delete(connection);
    const address = addressKey(socket.remoteAddress);
    const left = (this.#perAddress.get(address) ?? 1) - 1;
    if (left > 0) this.#perAddress.set(address, left);
    else this.#perAddress.delete(address);
    this.#leave(connection);
    const seconds = Math.round((this.now() - connection.openedAt) / 1000);
    this.#report.info(
      `${connection.peer} disconnected after ${seconds} s, ${connection.entriesSent} entries sent`,
      {
        event: "disconnected",
        peer: connection.peer,
        seconds,
        entries: connection.entriesSent,
      },
    );
  }

  join(connection: Connection, hello: Hello): Room | Promise<Room> {
    checkAccess(this.#accessKey, hello);
    const key = Buffer.from(hello.roomId).toString("hex");
    const token = tokenName(hello.token);
    const earlier = this.#tokens.get(`${key} ${token}`);
    if (earlier !== undefined) this.#replace(earlier);
    if (this.#cluster !== undefined) {
      return this.#joinCluster(this.#cluster, connection, key, hello, earlier?.number);
    }
    const room = this.#rooms.get(key) ?? this.#makeRoom(key);
    this.#enter(connection, room, token);
    return room;
  }

  #enter(connection: Connection, room: Room, token: string): void {
    if (token !== NO_TOKEN) {
      const known = `${room.key} ${token}`;
      this.#tokens.set(known, connection);
      this.#tokenOf.set(connection, known);
    }
    room.add(connection);
    const short = room.key.slice(0, 8);
    this.#report.info(`${connection.peer} joined room ${short} (${room.size} there)`, {
      event: "joined",
      peer: connection.peer,
      room: short,
      members: room.size,
    });
  }

  async #joinCluster(
    cluster: Cluster,
    connection: Connection,
    key: string,
    hello: Hello,
    earlier: number | undefined,
  ): Promise<Room> {
    const token = tokenName(hello.token);
    // A client that goes on after an entry was connected before, perhaps to another relay.
    const comesBack = hello.start.kind === "after" && token !== NO_TOKEN;
    for (;;) {
      const room = this.#rooms.get(key) ?? (await this.#findRoom(cluster, key));
      if (comesBack) await room.replace(token, earlier);
      // The client may have left meanwhile, or the room been forgotten.
      if (connection.state !== "joining") return room;
      if (this.#rooms.get(key) !== room) continue;
      this.#enter(connection, room, token);
      return room;
    }
  }

  #findRoom(cluster: Cluster, key: string): Promise<Room> {
    const coming = this.#coming.get(key);
    if (coming !== undefined) return coming;
    const room = this.#makeRoom(key);
    // Nobody may have it before it is followed.
    this.#rooms.delete(key);
    const found = room
      .share(cluster)
      .then(() => {
        room.emptySince = this.now();
        this.#rooms.set(key, room);
        return room;
      })
      .catch((error: unknown) => {
        throw this.#trouble(new StorageError(`room ${key.slice(0, 8)}: ${message(error)}`));
      })
      .finally(() => this.#coming.delete(key));
    this.#coming.set(key, found);
    return found;
  }

  replaced(room: Room, token: string): void {
    const earlier = this.#tokens.get(`${room.key} ${token}`);
    if (earlier === undefined) return;
    room.forget(earlier.number);
    this.#replace(earlier);
  }

  /** A client came back before its old connection was known dead: that one must not speak again. */
  #replace(earlier: Connection): void {
    earlier.goneReason = GoneReason.REPLACED;
    earlier.close("replaced", "the same client has connected again");
    this.#leave(earlier);
  }

  /** Takes a connection out of its room, if it is in one still. */
  #leave(connection: Connection): void {
    const room = connection.room;
    if (room === undefined || connection.memberIndex < 0) return;
    room.remove(connection);
    connection.memberIndex = -1;
    const known = this.#tokenOf.get(connection);
    if (known !== undefined) {
      this.#tokenOf.delete(connection);
      this.#tokens.delete(known);
    }
    if (room.size === 0) room.emptySince = this.now();
    if (connection.entriesSent > 0) {
      room.append(FrameType.GONE, connection.number, Uint8Array.of(connection.goneReason), 0, 1);
    }
  }

  #makeRoom(key: string): Room {
    if (this.#rooms.size >= this.limits.maxRooms && !this.#forgetEmptiest()) {
      throw new ProtocolError(
        "rooms-full",
        `this relay's ${this.limits.maxRooms} rooms are in use; try again later`,
      );
    }
    const room = new Room(key, this.limits.ringBytes, this, this.#store);
    this.#rooms.set(key, room);
    return room;
  }

  /** Makes place by forgetting the room that has been empty longest: false where none is. */
  #forgetEmptiest(): boolean {
    let longest: Room | undefined;
    for (const room of this.#rooms.values()) {
      if (room.size === 0 && (longest === undefined || room.emptySince < longest.emptySince)) {
        longest = room;
      }
    }
    if (longest === undefined) return false;
    this.#forget(longest);
    return true;
  }

  /** Takes an empty room out of memory. */
  #forget(room: Room): void {
    room.flush();
    room.close();
    this.#rooms.delete(room.key);
  }

  /** Serves a room's readers once, after all that this turn of the event loop brings. */
  serveSoon(room: Room): void {
    this.#waiting.push(room);
    if (this.#waiting.length === 1) setImmediate(this.#serve);
  }

  readonly #serve = () => {
    for (const room of this.#waiting) room.flush();
    this.#waiting.length = 0;
  };

  problem(error: unknown): void {
    this.#trouble(error);
  }

  /** Says what the disk does not do, and remembers it for who asks after the relay's health. */
  #trouble(error: unknown): ProtocolError {
    if (error instanceof ProtocolError) return error;
    this.counters.problems += 1;
    this.#troubledAt = this.now();
    return storageRefusal(error, this.#report);
  }

  committed(): void {
    this.counters.commits += 1;
  }

  storeFailed(senders: Connection[], error: unknown): void {
    const { code, message } = this.#trouble(error);
    for (const sender of senders) sender.close(code, message);
  }

  roomLost(room: Room, error: unknown): void {
    const { code, message } = this.#trouble(error);
    this.#rooms.delete(room.key);
    for (const member of [...room.members]) {
      member.close(code, message);
      this.#leave(member);
    }
    room.close();
  }

  refused(connection: Connection, code: CodeName, why: string): void {
    const verb = code === "rate-limited" ? "slowed down" : "refused";
    this.counters.refused(code);
    this.#report.refusal(`${connection.peer} ${verb} (${code}): ${why}`, {
      event: "refused",
      peer: connection.peer,
      code,
    });
  }

  #sweep(): void {
    const now = this.now();
    const { handshakeSeconds, pingSeconds, roomSeconds } = this.limits;
    for (const connection of this.#connections) {
      const silent = now - connection.heardAt;
      if (connection.state === "closing") {
        if (now - connection.closingAt > LINGER_MS) connection.terminate();
      } else if (connection.state === "hello" || connection.state === "joining") {
        if (now - connection.openedAt > handshakeSeconds * 1000) {
          connection.close("handshake-timeout", `no HELLO within ${handshakeSeconds} s`);
        }
      } else if (silent > pingSeconds * 1000) {
        this.#checkAlive(connection, now);
      }
    }
    for (const room of this.#rooms.values()) {
      if (room.size === 0 && now - room.emptySince > roomSeconds * 1000) this.#forget(room);
    }
    if (now - this.#expiredAt > EXPIRE_MS) this.#expire(now);
    this.#report.sweep();
  }

  /** Deletes what has been kept for long enough. */
  #expire(now: number): void {
    this.#expiredAt = now;
    try {
      for (const room of this.#rooms.values()) room.expire();
      this.#store?.removeExpired((key) => this.#rooms.has(key));
    } catch (error) {
      this.problem(error);
    }
  }

  /** Pings a silent client once; closes it when that brought no sign of life either. */
  #checkAlive(connection: Connection, now: number): void {
    const { pingSeconds } = this.limits;
    if (connection.pingedAt < connection.heardAt) {
      connection.ping(now);
    } else if (now - connection.pingedAt > pingSeconds * 1000) {
      connection.goneReason = GoneReason.TIMEOUT;
      connection.close("idle-timeout", `no answer to a ping within ${pingSeconds} s`);
    }
  }

  /** Stops listening, tells every client, waits a little for what they have not been sent. */
  stop(why: string): Promise<void> {
    this.#stopping ??= this.#stop(why);
    return this.#stopping;
  }

  async #stop(why: string): Promise<void> {
    this.#report.state(`${why}: closing ${this.#connections.size} connections`);
    this.#listener.stop();
    this.#serve();
    const deadline = this.now() + LINGER_MS;
    const undrained = () => [...this.#connections].some((c) => c.state === "open" && !c.drained);
    while (undrained() && this.now() < deadline) await Bun.sleep(10);
    for (const connection of this.#connections) {
      connection.close("shutdown", "the relay is shutting down");
    }
    while (this.#connections.size > 0 && this.now() < deadline + 500) await Bun.sleep(10);
    clearInterval(this.#sweeper);
    for (const connection of this.#connections) connection.terminate();
    for (const room of this.#rooms.values()) this.#forget(room);
    this.#store?.close();
    await this.#cluster?.close();
    this.#report.state("stopped");
  }
}
