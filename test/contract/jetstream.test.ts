/** The stream's contract, over the simulator and over a real nats-server; and how relays agree on streams. */
import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { type JetStreamManager, jetstreamManager } from "@nats-io/jetstream";
import { connect, type NatsConnection } from "@nats-io/transport-node";
import { NatsStream } from "../../src/relay/log/jetstream/nats.ts";
import { SimJetStream, SimStream } from "../sim/jetstream.ts";
import { Nats } from "../support/nats.ts";
import { Scratch, until } from "../support/programs.ts";
import { type StreamSetup, streamContract } from "./jetstream.ts";
import { ManualClock, manualRuntime } from "./manual-clock.ts";
import { clusterOptions, silentReport } from "./nats-stream.ts";

setDefaultTimeout(60_000);

streamContract("the simulator", () => {
  const clock = new ManualClock();
  const server = new SimJetStream(manualRuntime(clock));
  return {
    links: [new SimStream(server), new SimStream(server)],
    forgetful: new SimStream(new SimJetStream(manualRuntime(clock), 1000)),
    run: (promise) => clock.run(promise),
    until: async (what, condition) => {
      for (let i = 0; !(await condition()); i++) {
        if (i > 10_000) throw new Error(`in vain waited for ${what}`);
        await clock.advance(10);
      }
    },
    purge: async (key) => server.purge(key),
    dropStream: async () => server.dropStream(),
  };
});

const scratch = new Scratch();
const servers: Nats[] = [];
const opened: { close(): Promise<void> }[] = [];
let real: StreamSetup;

async function serve(): Promise<Nats> {
  const nats = await Nats.start(scratch);
  servers.push(nats);
  return nats;
}

async function join(nats: Nats, options: Parameters<typeof clusterOptions>[1] = {}) {
  const stream = await NatsStream.join(clusterOptions(nats, options), silentReport);
  opened.push(stream);
  return stream;
}

async function manager(nats: Nats): Promise<JetStreamManager> {
  const connection: NatsConnection = await connect({ servers: nats.url });
  opened.push(connection);
  return await jetstreamManager(connection);
}

beforeAll(async () => {
  const [nats, short] = [await serve(), await serve()];
  const jsm = await manager(nats);
  real = {
    links: [await join(nats), await join(nats)],
    forgetful: await join(short, { keepSeconds: 1 }),
    run: (promise) => promise,
    until: async (what, condition) => void (await until(what, condition)),
    purge: async (key) => void (await jsm.streams.purge("CHAT-0", { filter: `chat.0.${key}` })),
    dropStream: async () => void (await jsm.streams.delete("CHAT-0")),
  };
});

afterAll(async () => {
  for (const each of opened) await each.close();
  for (const nats of servers) await nats.kill();
  scratch.remove();
});

streamContract("NATS", () => real);

describe("relays that start at the same time", () => {
  test("make the streams once, and all of them", async () => {
    const nats = await serve();
    const relays = Array.from({ length: 6 }, () => join(nats, { streams: 4 }));
    await Promise.all(relays);
    const names: string[] = [];
    for await (const name of (await manager(nats)).streams.names()) names.push(name);
    expect(names.sort()).toEqual(["CHAT-0", "CHAT-1", "CHAT-2", "CHAT-3"]);
  });

  test("find out that they want different numbers of them", async () => {
    const nats = await serve();
    const ends = await Promise.allSettled([2, 3, 2, 3].map((streams) => join(nats, { streams })));
    const counts = ends.map(({ status }) => status).sort();
    expect(counts).toEqual(["fulfilled", "fulfilled", "rejected", "rejected"]);
    const names: string[] = [];
    for await (const name of (await manager(nats)).streams.names()) names.push(name);
    const wrong = names.length === 2 ? 3 : 2;
    await expect(join(nats, { streams: wrong })).rejects.toThrow(
      `it has ${names.length} streams for chats, not ${wrong}: --cluster-streams ${names.length}`,
    );
  });

  test("take streams as they are, and their limits", async () => {
    const nats = await serve();
    expect((await join(nats, { keepSeconds: 7 })).keepMs).toBe(7000);
    expect((await join(nats, { keepSeconds: 0 })).keepMs).toBe(7000);
    // Streams of an older relay say nothing of how many they are.
    const old = await serve();
    const jsm = await manager(old);
    for (const i of [0, 1]) {
      await jsm.streams.add({ name: `CHAT-${i}`, subjects: [`chat.${i}.*`], allow_direct: true });
    }
    expect((await join(old, { streams: 2 })).keepMs).toBe(0);
    await expect(join(old, { streams: 1 })).rejects.toThrow("it has 2 streams for chats");
  });

  test("leave no consumer behind that is not followed any more", async () => {
    const nats = await serve();
    const [stream, jsm] = [await join(nats), await manager(nats)];
    const key = "ab".repeat(32);
    const nobody = { message: () => undefined, ended: () => undefined };
    const following = await stream.follow(key, 1, nobody);
    const consumers = async () => (await jsm.streams.info("CHAT-0")).state.consumer_count;
    expect(await consumers()).toBe(1);
    following.stop();
    await until("none", async () => (await consumers()) === 0);
  });
});
