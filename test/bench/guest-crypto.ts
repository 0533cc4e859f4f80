/**
 * AES-128-CBC in guests, each way that there is: our device in QEMU, in the main loop and in iothreads;
 * the daemon under Debian's QEMU; upstream's virtio-crypto by way of AF_ALG; the guest's own software.
 * One kernel, one run, the contenders taking turns. And what the device's core does by itself.
 */
import { join } from "node:path";
import { ROOT } from "../../src/setup/build.ts";
import { CryptoDaemon } from "../support/crypto-daemon.ts";
import { Scratch } from "../support/programs.ts";
import { CACHE, fullKernel, run } from "../vm/assets.ts";
import { Guest } from "../vm/guest.ts";
import { median } from "./median.ts";

const MILLISECONDS = 500;
const BYTES = [16, 256, 1024, 4096, 16_384, 65_536];
const IN_FLIGHT = [1, 2, 8];
/** What a read of virtio-rng's device takes to be one request. */
const RNG_BYTES = 64;

/** What upstream's driver and AF_ALG are made of, and virtio-rng, in the order in which they load. */
const MODULES = [
  "crypto/cryptd",
  "crypto/crypto_simd",
  "arch/x86/crypto/aesni-intel",
  "crypto/af_alg",
  "crypto/algif_skcipher",
  "crypto/crypto_engine",
  "drivers/crypto/virtio/virtio_crypto",
  "drivers/char/hw_random/rng-core",
  "drivers/char/hw_random/virtio-rng",
];

const UPSTREAM = [
  ...["-object", "cryptodev-backend-builtin,id=upstream"],
  ...["-device", "virtio-crypto-pci,cryptodev=upstream"],
  ...["-device", "virtio-rng-pci"],
];

interface Contender {
  readonly name: string;
  readonly guest: Guest;
  readonly target: string;
}

const ours = (properties: object) => [
  "-device",
  JSON.stringify({ driver: "virtio-cryptodev-pci", backend: "builtin", ...properties }),
];
const iothreads = (count: number) =>
  Array.from({ length: count }, (_, i) => ["-object", `iothread,id=t${i}`]).flat();

/** The guests, and what is measured in them; the first contender is what the others are compared with. */
async function contenders(scratch: Scratch): Promise<{ list: Contender[]; end(): Promise<void> }> {
  const kernel = fullKernel();
  const boot = (devices: readonly string[], more: object = {}) =>
    Guest.boot({ kernel, modules: MODULES, ...more, devices });
  const daemons = [1, 2].map((queues) =>
    CryptoDaemon.start(scratch, { id: `queues${queues}`, queues }),
  );
  const [one, two] = await Promise.all(daemons);
  if (one === undefined || two === undefined) throw new Error("no daemon");
  const plain = await boot([...ours({}), ...UPSTREAM]);
  const iothread = await boot([...iothreads(1), ...ours({ iothread: "t0" })]);
  const spread = await boot([
    ...iothreads(2),
    ...ours({
      "num-queues": 2,
      "iothread-vq-mapping": [{ iothread: "t0" }, { iothread: "t1" }],
    }),
  ]);
  const daemon = await boot([...one.devices, ...UPSTREAM], one.guest);
  const daemonSpread = await boot(two.devices, two.guest);
  const guests = [plain, iothread, spread, daemon, daemonSpread];
  const device = "/dev/crypto";
  return {
    list: [
      { name: "QEMU's device", guest: plain, target: device },
      { name: "with an iothread", guest: iothread, target: device },
      { name: "2 queues, 2 iothreads", guest: spread, target: device },
      { name: "daemon, Debian's QEMU", guest: daemon, target: device },
      { name: "daemon, 2 queues", guest: daemonSpread, target: device },
      { name: "QEMU's device, mapped", guest: plain, target: `${device},mapped` },
      { name: "daemon, mapped", guest: daemon, target: `${device},mapped` },
      { name: "daemon, AES-GCM", guest: daemon, target: `${device},gcm` },
      { name: "daemon, AES-GCM, mapped", guest: daemon, target: `${device},gcm,mapped` },
      { name: "virtio-crypto, AF_ALG", guest: plain, target: "virtio_crypto_aes_cbc" },
      { name: "the same, Debian's QEMU", guest: daemon, target: "virtio_crypto_aes_cbc" },
      { name: "bare round trip (virtio-rng)", guest: plain, target: "/dev/hwrng" },
      { name: "the same, Debian's QEMU", guest: daemon, target: "/dev/hwrng" },
      { name: "guest's AES-NI, AF_ALG", guest: plain, target: "cbc-aes-aesni" },
      { name: "guest's C, AF_ALG", guest: plain, target: "cbc(aes-generic)" },
    ],
    end: async () => {
      for (const guest of guests) await guest.stop();
      for (const each of [one, two]) await each.stop();
    },
  };
}

/** Operations a second. */
async function speed({ guest, target }: Contender, bytes: number, threads: number) {
  const size = target === "/dev/hwrng" ? RNG_BYTES : bytes;
  const { code, output } = await guest.run(
    `crypto-bench '${target}' ${size} ${MILLISECONDS} ${threads}`,
  );
  const [operations = 0, micros = 0] = output.split(" ").map(Number);
  if (code !== 0 || micros === 0) throw new Error(`crypto-bench ${target}: ${output}`);
  return (operations * 1e6) / micros;
}

async function rows(list: readonly Contender[], bytes: number, threads: number, runs: number) {
  const rates = new Map(list.map((contender) => [contender, [] as number[]]));
  for (let run = 0; run < runs; run++) {
    for (const contender of list) {
      rates.get(contender)?.push(await speed(contender, bytes, threads));
    }
  }
  const rate = (contender: Contender) => median(rates.get(contender) ?? []);
  /** The rate of upstream's device, or the bare round trip, in the same QEMU. */
  const peer = (guest: Guest, target: string) => {
    const same = list.filter((contender) => contender.target === target);
    const found = same.find((contender) => contender.guest === guest) ?? same[0];
    return found === undefined ? Number.NaN : rate(found);
  };
  return list.map((contender) => {
    const { name, guest, target } = contender;
    const own = rate(contender);
    const megabytes = target === "/dev/hwrng" ? "" : ((own * bytes) / 1e6).toFixed(2);
    const ratio = (n: number) => (target.startsWith("/dev/crypto") ? (own / n).toFixed(2) : "");
    const upstream = ratio(peer(guest, "virtio_crypto_aes_cbc"));
    const bare = ratio(peer(guest, "/dev/hwrng"));
    return `| ${bytes} | ${threads} | ${name} | ${own.toFixed(0)} | ${megabytes} | ${upstream} | ${bare} |`;
  });
}

function coreTable(): string {
  const make = ["make", "-s", "-C", join(ROOT, "qemu-patch"), `CACHE=${CACHE}`, "bench-core"];
  const lines = run(make)
    .trim()
    .split("\n")
    .map((line) => `| ${line.split(" ").join(" | ")} |`);
  return [
    "\n## The device's core by itself, AES-128-CBC, without a machine\n",
    "| backend | bytes | in flight | operations/s |",
    "|---|--:|--:|--:|",
    ...lines,
  ].join("\n");
}

/** The tables as Markdown. */
export async function guestCryptoTable(runs: number, quick: boolean): Promise<string> {
  const scratch = new Scratch();
  const { list, end } = await contenders(scratch);
  const lines: string[] = [];
  for (const threads of IN_FLIGHT) {
    for (const bytes of quick ? [16, 65_536] : BYTES) {
      lines.push(...(await rows(list, bytes, threads, runs)));
    }
  }
  await end();
  scratch.remove();
  return [
    coreTable(),
    "\n## AES-128-CBC in a guest (TCG, two processors)\n",
    "One operation of each thread in flight, each with a file of its own. Ratios: to upstream's",
    "virtio-crypto, and to the bare round trip of a virtqueue, in the same QEMU where it is there.",
    "AES-GCM is compared with upstream's AES-CBC, since upstream has no AEAD.\n",
    "| bytes | in flight | path | operations/s | MB/s | to upstream | to bare |",
    "|--:|--:|---|--:|--:|--:|--:|",
    ...lines,
  ].join("\n");
}

if (import.meta.main) console.log(await guestCryptoTable(3, process.argv.includes("--quick")));
