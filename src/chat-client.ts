/** ./chat-client: joins a room whose relay cannot read it. */
import { runProgram } from "./cli/program.ts";
import { chatCommand, subCommands } from "./client/command.ts";
import { CHOICES } from "./crypto/choose.ts";
import { VERSION } from "./version.ts";

await runProgram({
  name: "chat-client",
  version: VERSION,
  main: chatCommand(CHOICES),
  subCommands,
  examples: [
    "  chat-client keygen                     make a room key",
    "  chat-client                            join on this machine's relay",
    "  chat-client chat.example.org --nick ann --room 'book club'",
    "  chat-client invite chat.example.org    what another person needs",
    "  chat-client accept < invite            join with what you were given",
    "  make 2>&1 | chat-client --nick build   send a program's output",
    "  chat-client --listen --json < /dev/null | jq .text",
  ],
});
