/** Where the cryptography is to run: --crypto auto, software, or the path of a device. */
import { existsSync } from "node:fs";
import { type Backend, DeviceError } from "./backend.ts";
import { CryptodevBackend } from "./cryptodev.ts";
import { FallbackBackend } from "./fallback.ts";
import { selfTest } from "./selftest.ts";
import { software } from "./software.ts";

const DEFAULT_DEVICE = "/dev/crypto";

export interface Chosen {
  readonly backend: Backend;
  /** One sentence: what is used and why. */
  readonly reason: string;
}

/**
 * Opens the backend that `wish` names and has it pass the self-test.
 * @param wish "auto", "software", or a path
 * @param onFallback told when "auto" has to give up a device in mid-chat
 * @throws DeviceError when a device that was asked for by its path does not work
 */
export function chooseBackend(wish: string, onFallback: (why: string) => void): Chosen {
  if (wish === "software") {
    selfTest(software);
    return { backend: software, reason: `${software.description}, as asked` };
  }
  if (wish !== "auto") {
    const device = openDevice(wish);
    return { backend: device, reason: `${device.description}, as asked` };
  }
  if (!existsSync(DEFAULT_DEVICE)) {
    selfTest(software);
    return { backend: software, reason: `${software.description}: there is no ${DEFAULT_DEVICE}` };
  }
  try {
    const device = openDevice(DEFAULT_DEVICE);
    const backend = new FallbackBackend(device, software, onFallback);
    return { backend, reason: `${device.description}: it passed its self-test` };
  } catch (error) {
    if (!(error instanceof DeviceError)) throw error;
    selfTest(software);
    return { backend: software, reason: `${software.description}: ${error.message}` };
  }
}

function openDevice(path: string): Backend {
  const device = new CryptodevBackend(path);
  try {
    selfTest(device);
    return device;
  } catch (error) {
    device.close();
    throw error;
  }
}
