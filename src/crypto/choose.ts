/** Where the cryptography is to run: --crypto auto, software, or the path of a device. */
import { existsSync } from "node:fs";
import { type Backend, DeviceError } from "./backend.ts";
import { BySizeBackend, type SizeClass } from "./bysize.ts";
import { CryptodevBackend } from "./cryptodev.ts";
import { FallbackBackend } from "./fallback.ts";
import { type Measured, measure } from "./measure.ts";
import { selfTest } from "./selftest.ts";
import { software } from "./software.ts";

const DEFAULT_DEVICE = "/dev/crypto";
/** How many times as fast as software a device must be, for a size, to be taken there. */
const WORTHWHILE = 1.1;

export interface Chosen {
  readonly backend: Backend;
  /** One sentence: what is used and why. */
  readonly reason: string;
}

/** What there is to choose from, and a clock to choose by. */
export interface Choices {
  readonly software: Backend;
  exists(path: string): boolean;
  /** @throws DeviceError */
  openDevice(path: string): Backend;
  /** In milliseconds. */
  now(): number;
}

export const CHOICES: Choices = {
  software,
  exists: existsSync,
  openDevice: (path) => new CryptodevBackend(path),
  now: () => performance.now(),
};

/**
 * Opens the backend that `wish` names and has it pass the self-test.
 * @param wish "auto", "software", or a path
 * @param onFallback told when "auto" has to give up a device in mid-chat
 * @throws DeviceError when a device that was asked for by its path does not work
 */
export function chooseBackend(
  wish: string,
  onFallback: (why: string) => void,
  choices: Choices,
): Chosen {
  if (wish !== "auto" && wish !== "software") {
    const device = openDevice(wish, choices);
    return { backend: device, reason: `${device.description}, as asked` };
  }
  const { software, exists } = choices;
  selfTest(software);
  const instead = (why: string) => ({ backend: software, reason: `${software.description}${why}` });
  if (wish === "software") return instead(", as asked");
  if (!exists(DEFAULT_DEVICE)) return instead(`: there is no ${DEFAULT_DEVICE}`);
  try {
    const device = openDevice(DEFAULT_DEVICE, choices);
    return whileOpen(device, () => {
      const measured = measure(software, device, choices.now);
      if (measured.some(isWorthwhile)) return share(measured, device, software, onFallback);
      device.close();
      return instead(`: ${device.description} ${slowness(measured)}`);
    });
  } catch (error) {
    if (!(error instanceof DeviceError)) throw error;
    return instead(`: ${error.message}`);
  }
}

function openDevice(path: string, choices: Choices): Backend {
  const device = choices.openDevice(path);
  return whileOpen(device, () => {
    selfTest(device);
    return device;
  });
}

/** Closes the device where `action` fails. */
function whileOpen<T>(device: Backend, action: () => T): T {
  try {
    return action();
  } catch (error) {
    device.close();
    throw error;
  }
}

const isWorthwhile = ({ ratio }: Measured) => ratio !== "unknown" && ratio >= WORTHWHILE;

const ratiosOf = (measured: readonly Measured[]) =>
  measured.flatMap(({ ratio }) => (ratio === "unknown" ? [] : [ratio]));

/** Gives the device the sizes that it is worth while for. */
function share(
  measured: readonly Measured[],
  device: Backend,
  software: Backend,
  onFallback: (why: string) => void,
): Chosen {
  const whileItWorks = new FallbackBackend(device, software, onFallback);
  const faster = measured.filter(isWorthwhile);
  const ratios = ratiosOf(faster);
  const [least, most] = [decimal(Math.min(...ratios)), decimal(Math.max(...ratios))];
  const speed = `${least === most ? most : `${least} to ${most}`} times as fast`;
  if (faster.length === measured.length) {
    return { backend: whileItWorks, reason: `${device.description}: ${speed} as software` };
  }
  const classes = measured.map((one): SizeClass => {
    return { bytes: one.bytes, where: isWorthwhile(one) ? "device" : "software" };
  });
  const description = inWords(classes, device.description);
  const backend = new BySizeBackend(description, software, whileItWorks, classes);
  return { backend, reason: `${description}: ${speed} there` };
}

function slowness(measured: readonly Measured[]): string {
  const ratios = ratiosOf(measured);
  if (ratios.length === 0) return "takes too long to be measured";
  const best = Math.max(...ratios);
  return best < 0.1 ? "is not a tenth as fast" : `is ${decimal(best)} times as fast at best`;
}

/** Rounded down, so that what is too little never looks like enough. */
function decimal(ratio: number): string {
  return (Math.floor(ratio * 10) / 10).toFixed(1);
}

/** As in "software up to 4 KiB, /dev/crypto (...) above". */
function inWords(classes: readonly SizeClass[], device: string): string {
  const last = classes.filter(({ where }, i) => where !== classes[i + 1]?.where);
  const words = last.map(({ bytes, where }, i) => {
    const size = bytes < 1024 ? `${bytes} bytes` : `${bytes / 1024} KiB`;
    return `${where === "device" ? device : where} ${i < last.length - 1 ? `up to ${size}` : "above"}`;
  });
  return words.join(", ");
}
