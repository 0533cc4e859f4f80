/** ./chat-server: a relay that cannot read what it relays. */
import { runProgram } from "./cli/program.ts";
import { serverCommand } from "./relay/command.ts";
import { VERSION } from "./version.ts";

await runProgram({
  name: "chat-server",
  version: VERSION,
  main: serverCommand,
  subCommands: {},
  examples: [
    "  chat-server                            listen on port 35001 of every address",
    "  chat-server --host 127.0.0.1 --port 0  on this machine only, any free port",
    "  chat-server --ring-bytes 16M           keep more of each room for who comes late",
    "  chat-server --data /var/lib/chat       keep rooms on disk, for good",
    "  chat-server --tls-cert chat.pem --tls-key chat.key --access-file access.key",
    "                                         with TLS, for those who have the access key",
    "  chat-server --quiet --rate 0           log refusals only, let clients send at any rate",
  ],
});
