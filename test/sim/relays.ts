/** A simulated machine with a relay: its process is killed and started, its disk and its link stay. */
import { DEFAULT_LIMITS } from "../../src/relay/limits.ts";
import { Budget } from "../../src/relay/log/budget.ts";
import { DiskLogs } from "../../src/relay/log/disk/logs.ts";
import { JetStreamLogs } from "../../src/relay/log/jetstream/logs.ts";
import type { Logs } from "../../src/relay/log/log.ts";
import { MemoryLogs } from "../../src/relay/log/memory.ts";
import type { Report } from "../../src/relay/report.ts";
import { Relay } from "../../src/relay/server.ts";
import { type SimDisk, SimStore } from "./disk.ts";
import { type SimJetStream, SimStream } from "./jetstream.ts";
import type { SimHost, SimNetwork } from "./network.ts";
import type { Plan } from "./plan.ts";
import type { SimProcess } from "./process.ts";
import { Violation } from "./truth.ts";
import { WatchedLogs } from "./watched-logs.ts";

export const PORT = 1;
/** The longest that half of a disk's call takes, in milliseconds. */
export const SLOW_DISK_MS = 200;

const CALM_LINK: Partial<SimStream["faults"]> = {
  latency: [1, 2],
  lostAnswer: 0,
  lostRequest: 0,
  lateLanding: 0,
  lag: [0, 0],
  silent: false,
  noFollowing: false,
};

export class Machine {
  readonly address: string;
  readonly disk: SimDisk | undefined;
  readonly #plan: Plan;
  readonly #network: SimNetwork;
  readonly #server: SimJetStream | undefined;
  readonly #trace: (line: string) => void;
  process: SimProcess | undefined;
  host: SimHost | undefined;
  relay: Relay | undefined;
  logs: WatchedLogs | undefined;
  link: SimStream | undefined;
  budget = new Budget(0);
  #starts = 0;
  #starting = false;
  /** How far its clock has been set, in milliseconds. */
  #clockSet = 0;
  /** No link to the cluster, also for a process that starts. */
  #linkDown = false;

  constructor(
    plan: Plan,
    address: string,
    network: SimNetwork,
    parts: { readonly disk: SimDisk | undefined; readonly server: SimJetStream | undefined },
    trace: (line: string) => void,
  ) {
    this.#plan = plan;
    this.address = address;
    this.#network = network;
    this.disk = parts.disk;
    this.#server = parts.server;
    this.#trace = trace;
  }

  get running(): boolean {
    return this.relay !== undefined;
  }

  /** Starts a relay, unless there is one. */
  async start(): Promise<void> {
    if (this.running || this.#starting) return;
    this.#starting = true;
    this.#starts += 1;
    const { scheduler } = this.#network;
    const process = scheduler.process(`${this.address} ${this.#starts}`);
    process.setClock(this.#clockSet);
    this.process = process;
    this.host = this.#network.attach(process, this.address);
    const { limits } = this.#plan;
    this.budget = new Budget(limits.memoryBytes);
    const logs = await this.#openLogs(process).finally(() => {
      this.#starting = false;
    });
    if (!process.alive) return;
    this.logs = new WatchedLogs(logs);
    this.relay = new Relay({
      host: this.address,
      port: PORT,
      limits: { ...DEFAULT_LIMITS, ...limits },
      report: this.#report(),
      runtime: process,
      transport: this.host,
      logs: this.logs,
      budget: this.budget,
      tls: undefined,
      accessKey: undefined,
    });
  }

  async #openLogs(process: SimProcess): Promise<Logs> {
    const { kind, fsync, keep } = this.#plan;
    if (this.#server !== undefined) {
      const link = new SimStream(this.#server);
      this.link = link;
      process.onEnd(() => void link.close());
      if (this.#linkDown) link.down();
      return new JetStreamLogs(link, process, this.budget);
    }
    if (kind === "memory" || this.disk === undefined) return new MemoryLogs(process);
    const report = (problem: string) => this.#trace(`${this.address} PROBLEM ${problem}`);
    const store = new SimStore(process, { fsync, keep, maxRooms: 1000, report }, this.disk);
    return new DiskLogs(store, this.budget, process);
  }

  #report(): Report {
    const line = (what: string) => (text: string) => this.#trace(`${this.address} ${what} ${text}`);
    const sweep = () => undefined;
    return {
      state: line("-"),
      info: line(" "),
      refusal: line("!"),
      problem: line("PROBLEM"),
      sweep,
    };
  }

  setClock(by: number): void {
    this.#clockSet += by;
    this.process?.setClock(by);
  }

  setLink(up: boolean): void {
    this.#linkDown = !up;
    if (up) this.link?.up();
    else this.link?.down();
  }

  /** What goes wrong with its disk or its link goes wrong no more. */
  calm(): void {
    this.setLink(true);
    if (this.link !== undefined) Object.assign(this.link.faults, CALM_LINK);
    const { disk } = this;
    if (disk === undefined) return;
    disk.resume();
    Object.assign(disk, { full: false, appendFails: 0, appendUnknown: 0, syncFails: 0 });
  }

  /** The process dies. */
  kill(): void {
    this.process?.kill();
    this.disk?.kill();
    this.#gone();
  }

  /** The machine dies: what its disk had not synced may be gone. */
  powerCut(): void {
    if (this.host !== undefined) this.#network.powerOff(this.host);
    this.disk?.powerCut();
    this.#gone();
  }

  /** The relay is told to end. */
  async stop(): Promise<void> {
    const { relay, process } = this;
    if (relay === undefined || process === undefined) return;
    await relay.stop("SIGTERM");
    if (this.process !== process || !process.alive) return;
    // All rooms have given back what they took.
    if (this.budget.used !== 0) {
      throw new Violation(`${this.address} ended with ${this.budget.used} bytes of rooms in use`);
    }
    process.kill();
    this.#gone();
  }

  #gone(): void {
    this.relay = undefined;
    this.logs = undefined;
    this.link = undefined;
    this.process = undefined;
    this.#starting = false;
  }
}
