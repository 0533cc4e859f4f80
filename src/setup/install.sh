#!/bin/sh
# Installs what npm run build has made: programs, the relay's systemd unit, documents.
#
#   npm run build && sudo npm run install:files
#   DESTDIR=debian/tmp PREFIX=/usr npm run install:files      as a package's build does it
set -eu

cd "$(dirname "$0")/../.."
prefix=${PREFIX:-/usr/local}
root=${DESTDIR:-}
for program in chat-server chat-client; do
	[ -x "$program" ] || { echo "there is no ./$program yet: npm run build" >&2; exit 66; }
done
install -d "$root$prefix/bin" "$root$prefix/share/doc/chat-server" "$root/lib/systemd/system" "$root/etc/default"
install -m 755 chat-server chat-client "$root$prefix/bin"
install -m 644 README.md LICENSE docs/*.md "$root$prefix/share/doc/chat-server"
sed "s|@PREFIX@|$prefix|g" src/setup/files/chat-server.service >"$root/lib/systemd/system/chat-server.service"
chmod 644 "$root/lib/systemd/system/chat-server.service"
# What somebody has set stays.
[ -e "$root/etc/default/chat-server" ] ||
	install -m 644 src/setup/files/chat-server.default "$root/etc/default/chat-server"
echo "installed under ${root:-/}; to start the relay: systemctl enable --now chat-server"
