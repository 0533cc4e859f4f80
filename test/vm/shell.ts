/** npm run vm: a guest with /dev/crypto and the chat client in it, and you at its console. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Subprocess } from "bun";
import { ensureExecutables } from "../../src/setup/executables.ts";
import { ensurePackages, VM_TOOLS } from "../../src/setup/packages.ts";
import { stockKernel } from "./assets.ts";
import { CLIENT_PROGRAMS, initramfs, machine } from "./guest.ts";

/** Process 1 of an interactive guest, after what the test guests do too. */
const SHELL = `
echo; echo "/dev/crypto is the host's. The host's port 35001 is 10.0.2.2: chat-client 10.0.2.2 --passphrase"
echo "Ctrl-D switches this machine off."
cd /root
setsid cttyhack sh
poweroff -f
`;

let machineRuns: Subprocess | undefined;

/** A folder that is gone when this process is, however it ends short of SIGKILL. */
function temporaryFolder(): string {
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
    // QEMU gives the terminal back when it is asked to end; then so does this process.
    process.on(signal, () => (machineRuns === undefined ? process.exit(1) : machineRuns.kill()));
  }
  const folder = mkdtempSync(join(tmpdir(), "chat-vm-"));
  process.on("exit", () => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

if (ensurePackages(VM_TOOLS).length > 0) process.exit(69);
await ensureExecutables();
const kernel = stockKernel();
const initrd = join(temporaryFolder(), "initrd");
const devices = ["-device", "virtio-cryptodev-pci,backend=auto"];
const command = machine(kernel, initrd, { devices });
writeFileSync(initrd, initramfs(kernel, SHELL, { programs: CLIENT_PROGRAMS }));
console.log("Booting; this takes some seconds ...");
machineRuns = Bun.spawn([...command, "-serial", "mon:stdio", ...process.argv.slice(2)], {
  stdio: ["inherit", "inherit", "inherit"],
});
process.exit(await machineRuns.exited);
