/** The QEMU device's own tests, in QEMU's way: libqos, qtest, AddressSanitizer. */
import { expect } from "bun:test";
import { join } from "node:path";
import { ROOT } from "../src/setup/build.ts";
import { vmTest } from "./support/vm.ts";
import { CACHE, qemu, run } from "./vm/assets.ts";

/** The sanitised QEMU is built for it, and 100,000 chains take their time. */
const MILLISECONDS = 40 * 60_000;

/** Each is tested with and without an ioeventfd, and in an iothread. */
const OBLIGATIONS = [
  "short-chains",
  "handles",
  "lengths",
  "reset",
  "reset-busy",
  "queue-reset",
  "order",
  "close-waits",
  "migration",
  "monitor",
  "stopped",
  "interrupt-resets",
  "error-resets",
  "chain-in-registers",
  "ring-in-registers",
  "fuzz",
];

vmTest(
  "each obligation of the device, and 100,000 random chains, under AddressSanitizer",
  async () => {
    const firmware = qemu().firmware[0] ?? "";
    const check = Bun.spawn(
      [
        "make",
        "-s",
        "-C",
        join(ROOT, "qemu-patch"),
        "check",
        `CACHE=${CACHE}`,
        `FIRMWARE=${firmware}`,
      ],
      { stdio: ["ignore", "pipe", "pipe"] },
    );
    const [output, errors] = await Promise.all([
      new Response(check.stdout).text(),
      new Response(check.stderr).text(),
    ]);
    expect(`${output}\n${errors}`).not.toContain("not ok");
    for (const way of ["", "-ioeventfd", "-iothread"]) {
      for (const name of OBLIGATIONS) {
        expect(output).toMatch(
          new RegExp(`^ok 1 /\\S+/virtio-cryptodev-tests/${name}${way}$`, "m"),
        );
      }
    }
    expect(output).toMatch(/^ok 1 \/\S+\/virtio-cryptodev-tests\/queues$/m);
    expect(output).toContain("100000 chains");
    expect(await check.exited).toBe(0);
  },
  MILLISECONDS,
);

vmTest("the series for upstream is clean under QEMU's checkpatch", async () => {
  qemu();
  const make = ["make", "-s", "-C", join(ROOT, "qemu-patch"), `CACHE=${CACHE}`];
  const patches = run([...make, "series"])
    .trim()
    .split("\n");
  expect(patches.length).toBeGreaterThanOrEqual(6);
  const program = join(CACHE, "qemu-src/scripts/checkpatch.pl");
  // New files want a maintainer, whom who sends the series names; the header does not come from Linux,
  // which has no such device.
  for (const patch of patches.filter((path) => !path.includes("0000-cover-letter"))) {
    const { stdout } = Bun.spawnSync(["perl", program, "--no-signoff", patch]);
    const complaints = stdout.toString().match(/^(ERROR|WARNING): .*/gm) ?? [];
    expect(complaints.filter((line) => !line.includes("moved or deleted file(s)"))).toEqual([]);
  }
});
