/** bun run vm: a guest with /dev/crypto and the chat client in it, and you at its console. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
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

if (ensurePackages(VM_TOOLS).length > 0) process.exit(69);
await ensureExecutables();
const folder = mkdtempSync(join(tmpdir(), "chat-vm-"));
const kernel = stockKernel();
const initrd = join(folder, "initrd");
writeFileSync(initrd, initramfs(kernel, SHELL, { programs: CLIENT_PROGRAMS }));
console.log("Booting; this takes some seconds ...");
const run = Bun.spawn(
  [
    ...machine(kernel, initrd, { devices: ["-device", "virtio-cryptodev-pci,backend=auto"] }),
    "-serial",
    "mon:stdio",
    ...process.argv.slice(2),
  ],
  { stdio: ["inherit", "inherit", "inherit"] },
);
const code = await run.exited;
rmSync(folder, { recursive: true });
process.exit(code);
