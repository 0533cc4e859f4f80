/** The disk's thread: calls come in, answers go out. Started by thread.ts, and alone in its thread. */
import { type Answer, type Call, pack, toFault, unpack, type Word } from "./calls.ts";
import { Descriptors } from "./descriptors.ts";
import { Folder } from "./folder.ts";
import type { RoomFile } from "./roomfile.ts";
import { StorageError } from "./store.ts";

/** How long the thread before this one may need to let go of its files, in milliseconds. */
const PATIENCE_MS = 5000;

declare const self: Worker;

interface Open {
  readonly key: string;
  readonly file: RoomFile;
}

const open = new Map<number, Open>();
let lastFile = 0;
let folder: Folder | undefined;

const say = (word: Word, transfer: ArrayBuffer[] = []) => self.postMessage(word, transfer);
const report = (problem: string) => say({ problem });

/** What to answer, and memory in it that is handed over. */
type Result = readonly [value?: unknown, ...memory: ArrayBuffer[]];

function theFolder(): Folder {
  if (folder === undefined) throw new StorageError("the folder is not open");
  return folder;
}

function theFile(file: number): Open {
  const found = open.get(file);
  if (found === undefined) throw new Error("the room's file is closed");
  return found;
}

function opened(key: string, file: RoomFile, newest: Parameters<typeof pack>[0]): Result {
  lastFile += 1;
  open.set(lastFile, { key, file });
  const packed = pack(newest);
  return [{ file: lastFile, kept: file.kept, newest: packed }, packed.bytes];
}

/** Does something with an open file. */
function using<T>(number: number, action: (file: RoomFile) => Promise<T>): Promise<T> {
  const { key, file } = theFile(number);
  return theFolder().use(key, file, () => action(file));
}

async function perform(call: Call): Promise<Result> {
  switch (call.name) {
    case "start": {
      const { options, descriptors, restarted } = call.with;
      const patience = restarted ? PATIENCE_MS : 0;
      folder = new Folder(options, new Descriptors(descriptors), patience, report);
      return [];
    }
    case "find": {
      const { key, bytes } = call.with;
      const found = await theFolder().find(key, bytes);
      return found === undefined ? [] : opened(key, found.file, found.newest);
    }
    case "create": {
      const { key, logId } = call.with;
      return opened(key, await theFolder().create(key, logId), []);
    }
    case "append": {
      const { file, runs, time, sync } = call.with;
      return [await using(file, (one) => one.append(unpack(runs), time, sync))];
    }
    case "sync":
      await using(call.with.file, (one) => one.sync());
      return [];
    case "page": {
      const { file, seq, end } = call.with;
      const run = await using(file, (one) => one.page(seq, end));
      if (run === undefined) return [];
      const packed = pack([run]);
      return [packed, packed.bytes];
    }
    case "expireFile": {
      const { file, now } = call.with;
      return [await using(file, (one) => one.expire(now))];
    }
    case "closeFile": {
      const { key, file } = theFile(call.with.file);
      open.delete(call.with.file);
      await theFolder().close(key, file);
      return [];
    }
    case "expire":
      await theFolder().expire(call.with.now);
      return [];
    case "end":
      open.clear();
      await folder?.end();
      folder = undefined;
      return [];
  }
}

async function answer(call: Call): Promise<void> {
  let [word, memory]: [Answer, ArrayBuffer[]] = [{ id: call.id, rooms: 0, value: undefined }, []];
  try {
    const [value, ...handed] = await perform(call);
    [word, memory] = [{ id: call.id, rooms: folder?.rooms ?? 0, value }, handed];
  } catch (error) {
    word = { id: call.id, rooms: folder?.rooms ?? 0, fault: toFault(error) };
  }
  say(word, memory);
}

self.onmessage = (event: MessageEvent<Call>) => void answer(event.data);
