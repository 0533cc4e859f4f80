/**
 * One simulation: real relays and clients of a plan in one loop, faults until all is calm, and checks at
 * every step: of what is never to happen while faults last, and of what has to happen once they stop.
 */
import { CODES } from "../../src/protocol/errors.ts";
import { roomId } from "../../src/protocol/keys.ts";
import type { Missed, Welcome } from "../../src/protocol/messages.ts";
import { decodeHead, runOf } from "../../src/relay/log/jetstream/head.ts";
import { Chatter, type ChatterWorld } from "./chatter.ts";
import { DEEDS_DONE, type Doings } from "./deeds.ts";
import { SimDisk } from "./disk.ts";
import { CALM, drawFaults } from "./faults.ts";
import { SimJetStream } from "./jetstream.ts";
import { Member, type MemberWorld } from "./member.ts";
import { SimNetwork } from "./network.ts";
import { type Action, DEEDS, type Deed, type Plan } from "./plan.ts";
import { Prng } from "./prng.ts";
import type { SimProcess } from "./process.ts";
import { Machine, PORT, SLOW_DISK_MS } from "./relays.ts";
import { Scheduler } from "./time.ts";
import { short, Truth, Violation } from "./truth.ts";

/** How long a client that is connected may wait for its entry, or its refusal, in milliseconds. */
const PATIENCE_MS = 90_000;
/** How long everybody may take to have everything once faults have stopped, in milliseconds. */
const RECOVERY_MS = 300_000;
/** How much later than it was kept a member may see its entry: it may read nothing meanwhile. */
const STALLED_MS = 30_000;
/** What a room may take beside the relay's budget: its largest entry twice, in the making and shown. */
const ROOM_BYTES = 600_000;
/** Deeds after which a stream may hold twice what its sender was told that it doesn't hold. */
const DOUBTS: readonly Deed[] = [
  ...["natsDown", "lostAnswers", "lateLanding", "lag", "leaderChange"],
  ...["dropStream", "followerSilent", "followerEnds", "purge"],
] as Deed[];

/** Deeds that make what keeps the rooms fail. */
const STORAGE_DEEDS = (Object.keys(DEEDS) as Deed[]).filter(
  (deed) => !(DEEDS[deed] as readonly string[]).includes("memory"),
);

export interface Room {
  readonly name: string;
  /** As relays name it: 64 hexadecimal digits. */
  readonly key: string;
  readonly id: Uint8Array;
  /** The members' room key, where they have one. */
  readonly secret: Uint8Array;
  readonly type: "members" | "chats";
}

export interface Outcome {
  readonly steps: number;
  readonly entries: number;
  readonly digest: number;
}

export class Simulation implements MemberWorld, ChatterWorld {
  readonly plan: Plan;
  readonly prng: Prng;
  readonly scheduler: Scheduler;
  readonly network: SimNetwork;
  readonly truth: Truth;
  readonly machines: Machine[] = [];
  readonly server: SimJetStream | undefined;
  readonly rooms: Room[] = [];
  readonly members: Member[] = [];
  readonly chatters: Chatter[] = [];
  /** What has been done so far, and when the last of each was. */
  readonly done: Doings = new Map();
  readonly #trace: (line: string) => void;
  readonly #processes = new Map<Member | Chatter, SimProcess>();
  readonly #pestered = new Set<string>();
  #clients = 0;
  #failure: unknown;
  #calm = false;

  constructor(plan: Plan, trace: (line: string) => void = () => undefined) {
    this.plan = plan;
    this.#trace = trace;
    this.prng = new Prng(plan.seed).fork("world");
    this.scheduler = new Scheduler(this.prng.fork("time"));
    this.network = new SimNetwork(this.scheduler, this.prng.fork("network"));
    const twice =
      plan.kind === "jetstream" && plan.actions.some(({ deed }) => DOUBTS.includes(deed));
    this.truth = new Truth({ twice });
    if (plan.kind === "jetstream") {
      this.server = new SimJetStream(this.scheduler.process("nats"), plan.keep.seconds * 1000);
    }
    for (let i = 0; i < plan.relays; i++) {
      const disk =
        plan.kind === "disk" ? new SimDisk(this.scheduler.process(`disk ${i}`)) : undefined;
      if (disk !== undefined) disk.latency = [0, this.prng.magnitude(0.01, SLOW_DISK_MS)];
      const parts = { disk, server: this.server };
      const trace = (line: string) => this.trace(line);
      this.machines.push(new Machine(plan, `relay-${i}`, this.network, parts, trace));
    }
    for (const [i, { type }] of plan.rooms.entries()) {
      const secret = this.prng.bytes(new Uint8Array(32));
      const name = `room${i}`;
      const id = roomId(secret, name);
      if (type === "chats") this.truth.seal(name);
      this.rooms.push({ name, id, key: Buffer.from(id).toString("hex"), secret, type });
    }
  }

  trace(line: string): void {
    this.#trace(`${(this.scheduler.now() / 1000).toFixed(3).padStart(9)} ${line}`);
  }

  now(): number {
    return this.scheduler.now();
  }

  /** @throws what is not as it must be, or what a program throws */
  run(): Outcome {
    const { plan, scheduler } = this;
    for (const machine of this.machines) this.attend(machine.start());
    this.#step(100);
    this.network.faults = drawFaults(this.prng.fork("faults"));
    for (const [i, { size }] of plan.rooms.entries()) {
      for (let n = 0; n < size; n++) this.addClient(this.rooms[i] as Room);
    }
    for (const action of plan.actions) scheduler.at(100 + action.at, () => this.#do(action));
    for (let at = 1000; at <= plan.calmAt; at += 1000) scheduler.at(at, () => this.#checkBounds());
    this.#step(plan.calmAt);
    this.#beCalm();
    this.#recover();
    this.#checkWhatIsKept();
    this.#checkHealth();
    this.#leave();
    const { digest, entries } = this.truth;
    return { steps: scheduler.steps, entries, digest };
  }

  /** Lets time pass, and looks at each step whether something has failed. */
  #step(milliseconds: number, until: () => boolean = () => false): boolean {
    const met = this.scheduler.runUntil(() => this.#failure !== undefined || until(), milliseconds);
    if (this.#failure !== undefined) throw this.#failure;
    return met;
  }

  /** What goes wrong in something that is not waited for is wrong all the same. */
  attend(work: Promise<unknown>): void {
    work.catch((error: unknown) => {
      this.#failure ??= error;
    });
  }

  #do(action: Action): void {
    if (this.#calm) return;
    const { deed, which, much, ms } = action;
    this.trace(`* ${deed} ${which} ${much.toFixed(3)} ${ms}`);
    this.done.set(deed, this.now());
    DEEDS_DONE[deed](this, action);
  }

  /** Does something so many milliseconds from now. */
  later(milliseconds: number, action: () => void): void {
    this.scheduler.at(this.now() + milliseconds, action);
  }

  pester(room: string): void {
    this.#pestered.add(room);
  }

  hasPests(room: string): boolean {
    return this.#pestered.has(room);
  }

  /** Whether this plan has one of these deeds, done already. */
  has(...deeds: Deed[]): boolean {
    return deeds.some((deed) => this.done.has(deed));
  }

  get longest(): number {
    // A sealed text grows to the next power of two, and a bit.
    return this.plan.limits.maxFrame / 2 - 150;
  }

  get losesEntries(): boolean {
    return !this.#keepsAll || this.has("kill", "stop", "powerCut") || !this.#keepsAcknowledged;
  }

  /** Rooms keep every entry that they have ever shown. */
  get #keepsAll(): boolean {
    const { kind, keep } = this.plan;
    if (kind === "memory" || keep.bytes + keep.entries + keep.seconds > 0) return false;
    return !this.has("damage", "purge", "dropStream");
  }

  /** Also when the machine ends. */
  get #keepsAcknowledged(): boolean {
    const { kind, fsync } = this.plan;
    return this.#keepsAll && (kind !== "disk" || fsync === "always" || !this.has("powerCut"));
  }

  /** A new client, in a process of its own. */
  addClient(room: Room): void {
    this.#clients += 1;
    const name = `c${this.#clients}`;
    const process = this.scheduler.process(name);
    const host = this.network.attach(process, name);
    if (room.type === "members") {
      const member = new Member(name, room, process, host, this);
      this.members.push(member);
      this.#processes.set(member, process);
    } else {
      const machine = this.machines[this.#clients % this.machines.length] as Machine;
      const endpoint = { host: machine.address, port: PORT };
      const of = { name: room.name, key: room.secret };
      const chatter = new Chatter(name, of, endpoint, process, host, this);
      this.chatters.push(chatter);
      this.#processes.set(chatter, process);
    }
  }

  /** A client's process ends without a word. */
  removeClient(client: Member | Chatter): void {
    this.#processes.get(client)?.kill();
    this.#processes.delete(client);
    const [member, chatter] = [this.members, this.chatters];
    if (client instanceof Member) member.splice(member.indexOf(client), 1);
    else chatter.splice(chatter.indexOf(client), 1);
  }

  relay(member: Member): { host: string; port: number } | undefined {
    member.relay = (member.relay + (this.prng.chance(0.7) ? 0 : 1)) % this.machines.length;
    const machine = this.machines[member.relay] as Machine;
    return { host: machine.address, port: PORT };
  }

  #logOf(member: Member) {
    const room = this.rooms.find(({ name }) => name === member.room);
    return this.machines[member.relay]?.logs?.find(room?.key ?? "", member.log);
  }

  missed(member: Member, { first, count }: Missed): void {
    const what = `${member.name} is told that it missed ${count} entries from ${first} on`;
    if (this.#keepsAll) throw new Violation(`${what}, where all are kept`);
    if (this.server !== undefined) {
      // A log of a stream that forgets by itself may be late to know of it; the stream is not.
      const room = this.rooms.find(({ name }) => name === member.room);
      for (const message of this.server.messages(room?.key ?? "")) {
        const head = decodeHead(message);
        const run = runOf(message, head);
        if (head.log !== member.log || run.next <= first || run.first >= first + count) continue;
        throw new Violation(`${what}, and the stream has ${run.first} to ${run.next - 1}`);
      }
      return;
    }
    const log = this.#logOf(member);
    if (log !== undefined && log.oldest < first + count && !this.has("damage")) {
      throw new Violation(`${what}, and ${log.oldest} is there`);
    }
  }

  newLog(member: Member, welcome: Welcome): void {
    const same = Buffer.from(welcome.logId).toString("hex") === member.log;
    const what = `${member.name}, which has read up to ${member.next - 1}, is told of a new log`;
    if (same && welcome.next >= member.next) throw new Violation(`${what}, which it has read`);
    if (!same && member.next > 1 && this.#logOf(member) !== undefined)
      throw new Violation(`${what}, beside its own`);
    // An empty log may begin anew: nothing was ever in it.
    if (member.next > 1 && this.#keepsAcknowledged) {
      throw new Violation(`${what}, where what was shown is kept`);
    }
  }

  refused(member: Member, code: number, why: string): void {
    const relay = this.machines[member.relay]?.relay;
    // To have begun a room second is no failure.
    const failed = code === CODES.storage && !why.includes("has just begun at another relay");
    if (!failed || relay === undefined) return;
    // The relay may be another by now, which knows of nothing.
    if (this.has("kill", "stop", "powerCut")) return;
    if (relay.gauges.trouble === undefined) {
      throw new Violation(
        `${member.name} is refused (${why}), and the relay says that all is well`,
      );
    }
  }

  late(member: Member, seq: number): void {
    if (this.truth.mayRepeat) return;
    throw new Violation(`${member.name}'s old connection speaks in entry ${seq}, after its return`);
  }

  #checkBounds(): void {
    for (const { relay, budget, address, link } of this.machines) {
      if (relay === undefined) continue;
      const { rooms, trouble, memoryBytes } = relay.gauges;
      const most = budget.total + this.plan.limits.maxRooms * ROOM_BYTES;
      if (memoryBytes > most) throw new Violation(`${address} has rooms of ${memoryBytes} bytes`);
      if (rooms > this.plan.limits.maxRooms) throw new Violation(`${address} has ${rooms} rooms`);
      if (trouble !== undefined && link?.connected !== false && !this.has(...STORAGE_DEEDS)) {
        throw new Violation(`${address} says "${trouble}", and nothing has failed`);
      }
      if (trouble === undefined && link?.connected === false) {
        throw new Violation(`${address} has no link, and says that all is well`);
      }
    }
    for (const member of this.members) {
      const [oldest] = member.unacknowledged;
      if (oldest?.at === undefined || member.stalled || this.has("partition")) continue;
      if (this.now() - oldest.at > PATIENCE_MS) {
        const waits = `${member.name} waits for "${short(oldest.text)}"`;
        throw new Violation(`${waits}, which is neither in the log nor refused`);
      }
    }
  }

  /** All faults stop. */
  #beCalm(): void {
    this.#calm = true;
    this.trace("calm");
    this.network.faults = CALM;
    this.network.heal();
    // A connection keeps the network that it was made over.
    for (const connection of this.network.connections) connection.cut();
    for (const machine of this.machines) {
      machine.calm();
      if (!machine.running) this.attend(machine.start());
    }
    this.server?.changeLeader(0);
  }

  /** Everybody comes back, says what there is to say, and has read all that there is. */
  #recover(): void {
    for (let at = 1000; at < RECOVERY_MS; at += 1000) this.later(at, () => this.#checkBounds());
    // Who is on a connection that is dead finds out first; what the relays watch for takes longer.
    this.#step(40_000);
    const late = this.#laggingMembers();
    if (late.length > 0 && !this.has("followerSilent", "diskHang")) {
      throw new Violation(`all has been well for a while, but not for ${late.join("; ")}`);
    }
    this.#step(20_000);
    const isThere = () => this.#laggards().length === 0;
    if (this.#step(RECOVERY_MS, isThere)) return;
    throw new Violation(`all has been well for long, but not for ${this.#laggards().join("; ")}`);
  }

  #laggards(): string[] {
    const chatters = this.chatters
      .filter(({ chat }) => !chat.connected || chat.undelivered > 0)
      .map(({ name, chat }) => `${name}, ${chat.undelivered} to say`);
    return [...this.#laggingMembers(), ...chatters];
  }

  #laggingMembers(): string[] {
    const ends = new Map<string, number>();
    for (const { log, next } of this.members) ends.set(log, Math.max(next, ends.get(log) ?? 0));
    return this.members
      .filter((m) => !m.inRoom || m.unacknowledged.length > 0 || m.next !== ends.get(m.log))
      .map(({ state }) => state);
  }

  /** Reads every room from every relay: what was acknowledged is there, as it was. */
  #checkWhatIsKept(): void {
    for (const room of this.rooms) {
      for (const [i] of this.machines.entries()) {
        const process = this.scheduler.process(`reader ${room.name} ${i}`);
        const host = this.network.attach(process, process.name);
        const all = { kind: "last", count: 1e9 } as const;
        const world: MemberWorld = {
          truth: this.truth,
          now: () => this.now(),
          relay: () => ({ host: this.machines[i]?.address ?? "", port: PORT }),
          missed: (member, missed) => this.missed(member, missed),
          newLog: (member, welcome) => this.newLog(member, welcome),
          refused: () => undefined,
          late: () => undefined,
        };
        const reader = new Member(process.name, room, process, host, world, all);
        reader.relay = i;
        const texts: string[] = [];
        reader.onEntry = (text) => texts.push(text);
        // In an empty room there is nothing to wait for.
        if (!this.#step(60_000, () => reader.inRoom)) {
          throw new Violation(`${reader.name} can't read ${room.name}`);
        }
        this.#compare(room, reader, new Set(texts));
        reader.end();
        this.#step(1000);
        process.kill();
      }
    }
  }

  #compare(room: Room, reader: Member, texts: ReadonlySet<string>): void {
    for (const { room: name, log, seq, text, at } of this.truth.acknowledged) {
      if (name !== room.name || texts.has(text) || !this.#isKept(at)) continue;
      const where = `entry ${seq} of ${log} ("${short(text)}")`;
      throw new Violation(`${where} was acknowledged, and ${reader.name} doesn't get it`);
    }
    if (room.type !== "chats" || this.losesEntries) return;
    const chatters = this.chatters.filter(
      ({ room: name, gaps }) => name === room.name && gaps === 0,
    );
    for (const { name, delivered, shown } of chatters) {
      for (const other of chatters) {
        for (const { text, seq } of delivered) {
          if (other.joinedAt > seq || other.shown.includes(text)) continue;
          throw new Violation(`${name}'s "${short(text)}" was delivered, and not to ${other.name}`);
        }
      }
      if (new Set(shown).size !== shown.length)
        throw new Violation(`${name} shows something twice`);
    }
  }

  /** Whether what was acknowledged at a time must be there still. */
  #isKept(at: number): boolean {
    if (this.#keepsAcknowledged) return true;
    const { kind, fsync, keep } = this.plan;
    if (keep.seconds > 0 && keep.bytes + keep.entries === 0 && kind !== "memory") {
      const loses =
        this.has("damage", "purge", "dropStream") || (fsync !== "always" && this.has("powerCut"));
      // However clocks are set.
      return !loses && this.now() - at < keep.seconds * 1000 - STALLED_MS;
    }
    const cut = this.done.get("powerCut");
    if (!this.#keepsAll || kind !== "disk" || fsync !== "second" || cut === undefined) return false;
    // A second, and what a sync takes; the first cut counts.
    const firstCut = this.firstPowerCut ?? cut;
    return !this.has("diskHang", "syncErrors") && at < firstCut - 1000 - 4 * SLOW_DISK_MS;
  }

  firstPowerCut: number | undefined;

  /** Once all is well, and has been for long enough, relays say so. */
  #checkHealth(): void {
    for (const member of this.members) member.say(50);
    this.#step(90_000);
    for (const room of this.rooms) {
      this.pester(room.name);
      this.addClient({ ...room, type: "members" });
    }
    this.#step(5000);
    for (const member of this.members) member.say(50);
    this.#step(5000);
    for (const { relay, address } of this.machines) {
      const trouble = relay?.gauges.trouble;
      // That a stream was emptied may be found late, in a room that nobody was in.
      const emptied = this.has("purge", "dropStream");
      if (trouble !== undefined && this.members.length > 0 && !emptied) {
        throw new Violation(`${address} says "${trouble}" when all has been well for long`);
      }
    }
  }

  /** Everybody leaves, and the relays end: nothing is left of them. */
  #leave(): void {
    for (const member of this.members) member.end();
    for (const { chat } of this.chatters) this.attend(chat.stop());
    this.#step(5000);
    for (const { relay, address } of this.machines) {
      const connections = relay?.gauges.connections ?? 0;
      if (connections > 0)
        throw new Violation(`${address} has ${connections} connections of nobody`);
    }
    const names = new Set(this.chatters.map(({ name }) => name));
    const left = this.network.connections.find((one) => one.clientHasIt && names.has(one.client));
    if (left !== undefined) throw new Violation(`${left.client} has ended and keeps a connection`);
    for (const process of this.#processes.values()) process.kill();
    for (const machine of this.machines) this.attend(machine.stop());
    if (!this.#step(30_000, () => this.machines.every(({ running }) => !running))) {
      throw new Violation("a relay that was told to end doesn't");
    }
    const followed = this.server?.followings ?? 0;
    if (followed > 0)
      throw new Violation(`${followed} rooms are followed when all relays have gone`);
    for (const { disk, address } of this.machines) {
      if (disk?.holder !== undefined) throw new Violation(`${address} has its folder still`);
    }
  }
}
