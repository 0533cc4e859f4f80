/** How each deed of a plan is done to a world (plan.ts has what they are). */
import type { Chatter } from "./chatter.ts";
import type { Member } from "./member.ts";
import { PESTS } from "./pests.ts";
import type { Action, Deed } from "./plan.ts";
import { type Machine, PORT } from "./relays.ts";
import type { Simulation } from "./simulation.ts";

/** When each deed was done last, in milliseconds. */
export type Doings = Map<Deed, number>;

type Doing = (world: Simulation, action: Action) => void;

function machineOf(world: Simulation, { which }: Action): Machine {
  return world.machines[which % world.machines.length] as Machine;
}

function clientOf(world: Simulation, { which }: Action): Member | Chatter | undefined {
  const all = [...world.members, ...world.chatters];
  return all[which % Math.max(1, all.length)];
}

function isMember(client: Member | Chatter): client is Member {
  return "unacknowledged" in client;
}

const memberOf = (world: Simulation, { which }: Action) =>
  world.members[which % Math.max(1, world.members.length)];

const roomOf = (world: Simulation, { which }: Action) =>
  world.rooms[which % world.rooms.length] as (typeof world.rooms)[number];

/** A machine is down for a while. */
function downFor(world: Simulation, machine: Machine, milliseconds: number): void {
  world.later(milliseconds, () => world.attend(machine.start()));
}

export const DEEDS_DONE: Readonly<Record<Deed, Doing>> = {
  say(world, action) {
    const client = clientOf(world, action);
    // Mostly short, sometimes as long as it can be.
    const bytes = Math.floor(action.much ** 4 * (world.plan.limits.maxFrame - 2));
    client?.say(Math.min(bytes, world.plan.limits.maxFrame - 2));
  },
  burst(world, action) {
    const client = clientOf(world, action);
    if (client === undefined) return;
    const { much, ms } = action;
    if (isMember(client) && much < 0.5) {
      // Several at once, so that one turn of the relay's loop brings all of it.
      for (const member of world.members) {
        if (member.room === client.room) member.sayNothing(Math.floor(much * 700));
      }
    } else {
      for (let i = 0; i < much * 20; i++) client.say((ms * (i + 1)) % 900);
    }
  },
  restart(world, action) {
    const client = clientOf(world, action);
    if (client === undefined) return;
    const room = world.rooms.find(({ name }) => name === client.room);
    world.removeClient(client);
    if (room !== undefined) world.later(action.ms / 10, () => world.addClient(room));
  },
  stall(world, action) {
    memberOf(world, action)?.stall(action.ms);
  },
  history(world, action) {
    const chatter = world.chatters[action.which % Math.max(1, world.chatters.length)];
    if (chatter !== undefined) world.attend(chatter.chat.past(1 + Math.floor(action.much * 50)));
  },
  pest(world, action) {
    const machine = machineOf(world, action);
    const room = roomOf(world, action);
    const pest = PESTS[Math.floor(action.much * 1000) % PESTS.length];
    const name = `pest ${world.now()} ${action.which}`;
    const process = world.scheduler.process(name);
    const host = world.network.attach(process, name);
    world.pester(room.name);
    const { truth } = world;
    const { maxFrame } = world.plan.limits;
    const endpoint = { host: machine.address, port: PORT };
    pest?.(process, host, { endpoint, room, truth, much: action.much, maxFrame });
    world.later(30_000, () => process.kill());
  },
  cut(world, { which, much }) {
    for (const [i, connection] of world.network.connections.entries()) {
      if ((i + which) % 3 < much * 3) connection.cut();
    }
  },
  partition(world, { which, much, ms }) {
    const addresses = [...world.members, ...world.chatters].map(({ name }) => name);
    const some = addresses.filter((_, i) => (i + which) % 2 === 0);
    const others = world.machines.map(({ address }) => address);
    const name = `partition ${which} ${much}`;
    world.network.partition(name, some, others);
    world.later(ms, () => world.network.heal(name));
  },
  clock(world, action) {
    // Years forth and back too.
    const by = (action.much - 0.5) * 10 ** (3 + (action.which % 8));
    machineOf(world, action).setClock(by);
  },
  kill(world, action) {
    const machine = machineOf(world, action);
    machine.kill();
    downFor(world, machine, action.ms / 5);
  },
  stop(world, action) {
    const machine = machineOf(world, action);
    world.attend(machine.stop().then(() => downFor(world, machine, action.ms / 5)));
  },
  powerCut(world, action) {
    const machine = machineOf(world, action);
    world.firstPowerCut ??= world.now();
    machine.powerCut();
    downFor(world, machine, action.ms / 5);
  },
  diskFull(world, action) {
    const { disk } = machineOf(world, action);
    if (disk === undefined) return;
    disk.full = true;
    world.later(action.ms, () => {
      disk.full = false;
    });
  },
  diskErrors: diskFault("appendFails"),
  diskDoubt: diskFault("appendUnknown"),
  syncErrors: diskFault("syncFails"),
  diskHang(world, action) {
    const { disk } = machineOf(world, action);
    disk?.hang();
    world.later(action.ms * 3, () => disk?.resume());
  },
  damage(world, action) {
    const { disk } = machineOf(world, action);
    const { key } = roomOf(world, action);
    const { much } = action;
    if (much < 0.3) disk?.ruin(key);
    else disk?.damage(key, much < 0.6 ? "newest" : "any");
  },
  natsDown(world, action) {
    const machine = machineOf(world, action);
    machine.setLink(false);
    world.later(action.ms * 2, () => {
      machine.setLink(true);
    });
  },
  lostAnswers: linkFault((faults, much) => {
    [faults.lostAnswer, faults.lostRequest] = [much, (1 - much) / 2];
    return () => {
      [faults.lostAnswer, faults.lostRequest] = [0, 0];
    };
  }),
  lateLanding: linkFault((faults, much) => {
    faults.lateLanding = much;
    return () => {
      faults.lateLanding = 0;
    };
  }),
  lag: linkFault((faults, much) => {
    faults.lag = [0, much * 8000];
    faults.latency = [1, 1 + much * 500];
    return () => {
      faults.lag = [0, 0];
      faults.latency = [1, 1];
    };
  }),
  followerEnds(world, action) {
    machineOf(world, action).link?.endFollowings(new Error("the consumer was deleted"));
  },
  followerSilent(world, action) {
    machineOf(world, action).link?.silenceFollowings();
  },
  leaderChange(world, action) {
    world.server?.changeLeader(action.ms);
  },
  purge(world, action) {
    world.server?.purge(roomOf(world, action).key);
  },
  dropStream(world) {
    world.server?.dropStream();
  },
};

function diskFault(which: "appendFails" | "appendUnknown" | "syncFails"): Doing {
  return (world, action) => {
    const { disk } = machineOf(world, action);
    if (disk === undefined) return;
    disk[which] = action.much;
    world.later(action.ms, () => {
      disk[which] = 0;
    });
  };
}

type LinkFaults = NonNullable<Machine["link"]>["faults"];

/** @param begin changes a link's faults. @returns what ends that */
function linkFault(begin: (faults: LinkFaults, much: number) => () => void): Doing {
  return (world, action) => {
    const { link } = machineOf(world, action);
    if (link === undefined) return;
    const end = begin(link.faults, action.much);
    world.later(action.ms, end);
  };
}
