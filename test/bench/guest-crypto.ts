/**
 * AES-128-CBC in a guest: through our /dev/crypto, through upstream's virtio-crypto by way of AF_ALG,
 * and in the guest's own software; one machine, one QEMU, one run.
 */
import { fullKernel } from "../vm/assets.ts";
import { Guest } from "../vm/guest.ts";
import { median } from "./median.ts";

const MILLISECONDS = 500;
const BYTES = [16, 256, 1024, 4096, 16_384, 65_536];
const IN_FLIGHT = [1, 8];

/** What upstream's driver and AF_ALG are made of, in the order in which they load. */
const MODULES = [
  "crypto/cryptd",
  "crypto/crypto_simd",
  "arch/x86/crypto/aesni-intel",
  "crypto/af_alg",
  "crypto/algif_skcipher",
  "crypto/crypto_engine",
  "drivers/crypto/virtio/virtio_crypto",
];

const DEVICES = [
  ["-device", "virtio-cryptodev-pci,backend=builtin"],
  ["-object", "cryptodev-backend-builtin,id=upstream"],
  ["-device", "virtio-crypto-pci,cryptodev=upstream"],
].flat();

const CONTENDERS = [
  { name: "/dev/crypto", target: "/dev/crypto" },
  { name: "virtio-crypto, AF_ALG", target: "virtio_crypto_aes_cbc" },
  { name: "guest's AES-NI, AF_ALG", target: "cbc-aes-aesni" },
  { name: "guest's C, AF_ALG", target: "cbc(aes-generic)" },
];

/** Operations a second. */
async function speed(guest: Guest, target: string, bytes: number, threads: number) {
  const { code, output } = await guest.run(
    `crypto-bench '${target}' ${bytes} ${MILLISECONDS} ${threads}`,
  );
  const [operations = 0, micros = 0] = output.split(" ").map(Number);
  if (code !== 0 || micros === 0) throw new Error(`crypto-bench ${target}: ${output}`);
  return (operations * 1e6) / micros;
}

async function rows(guest: Guest, bytes: number, threads: number, runs: number): Promise<string[]> {
  const rates = new Map(CONTENDERS.map(({ name }) => [name, [] as number[]]));
  for (let run = 0; run < runs; run++) {
    for (const { name, target } of CONTENDERS) {
      rates.get(name)?.push(await speed(guest, target, bytes, threads));
    }
  }
  const own = median(rates.get("/dev/crypto") ?? []);
  return CONTENDERS.map(({ name }) => {
    const rate = median(rates.get(name) ?? []);
    const megabytes = ((rate * bytes) / 1e6).toFixed(2);
    return `| ${bytes} | ${threads} | ${name} | ${rate.toFixed(0)} | ${megabytes} | ${(own / rate).toFixed(2)} |`;
  });
}

/** The table as Markdown. */
export async function guestCryptoTable(runs: number, quick: boolean): Promise<string> {
  const guest = await Guest.boot({ kernel: fullKernel(), devices: DEVICES, modules: MODULES });
  const lines: string[] = [];
  for (const threads of IN_FLIGHT) {
    for (const bytes of quick ? [16, 65_536] : BYTES) {
      lines.push(...(await rows(guest, bytes, threads, runs)));
    }
  }
  await guest.stop();
  return [
    "\n## AES-128-CBC in a guest (TCG, two processors)\n",
    "One operation of each thread in flight. Ratio: the rate of our /dev/crypto to theirs.\n",
    "| bytes | in flight | path | operations/s | MB/s | ratio |",
    "|--:|--:|---|--:|--:|--:|",
    ...lines,
  ].join("\n");
}
