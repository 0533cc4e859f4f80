// Placeholder until the real file is written: overwrite it.
import type { FsyncPolicy, Keep, Store } from "./store.ts";
export interface SqliteStoreOptions {
  readonly folder: string;
  readonly fsync: FsyncPolicy;
  readonly keep: Keep;
  readonly maxRooms: number;
}
export type SqliteStore = Store;
export const SqliteStore = {
  open: async (
    _options: SqliteStoreOptions,
    _report: (problem: string) => void,
  ): Promise<SqliteStore> => {
    throw new Error("not yet");
  },
};
