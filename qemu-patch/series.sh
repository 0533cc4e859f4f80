#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Writes the series that one would send upstream into $CACHE/series: the device's files and the edits
# to existing ones as commits, on a repository that holds just the files that are touched.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
src=$CACHE/qemu-src
out=$CACHE/series
work=$(mktemp -d)
files=$(mktemp -d)
trap 'rm -rf "$work" "$files"' EXIT

[ -f "$src/.virtio-cryptodev" ] || { echo "qemu-patch: run make first" >&2; exit 1; }
author=$(git -C "$here" log -1 --format='%an <%ae>')
commit() {
	git -C "$work" add -A
	git -C "$work" -c user.name="${author% <*}" -c user.email="$(sed 's/.*<\(.*\)>/\1/' <<<"$author")" \
		commit --quiet --signoff -m "$1" -m "$2"
}

git -C "$work" init --quiet
touched=$(sed -n 's#^+++ b/##p' "$here"/patches/*.patch)
for file in $touched; do
	mkdir -p "$work/$(dirname "$file")"
	cp "$src/$file" "$work/$file"
done
for patch in $(ls -r "$here"/patches/*.patch); do
	patch -d "$work" -p1 --quiet --reverse <"$patch"
done
commit "base" "The files that the series touches, as they are."

"$here/layout.sh" "$files"
cd "$files"
# Moves files and folders, so that what is in no commit is seen in the end.
add() {
	for path in "$@"; do
		mkdir -p "$work/$(dirname "$path")"
		mv "$path" "$work/$path"
	done
}
add include/standard-headers
commit "standard-headers: add virtio_cryptodev.h and cryptodev_abi.h" \
	"The layout of the virtio cryptodev device's requests and configuration, and the
host's /dev/crypto as programs see it."
add hw/virtio/cryptodev/core
commit "hw/virtio: add the cryptodev device's core" \
	"It checks requests, keeps files and sessions, and has threads. It knows nothing of
QEMU, since a vhost-user daemon is made of it too."
add hw/virtio/cryptodev/backends
commit "hw/virtio: add the cryptodev device's backends" \
	"The host's /dev/crypto, and one that does nothing, to measure the path."
add include/hw $(ls hw/virtio/*.c | grep -v -e -pci)
commit "hw/virtio: add the cryptodev device" \
	"It offers the host's /dev/crypto, or QEMU's crypto library, to programs in a guest."
add hw/virtio/virtio-cryptodev-pci.c
commit "hw/virtio: add virtio-cryptodev-pci" "The device's PCI binding, modern only."
add tests/qtest/virtio-cryptodev-test.c tests/qtest/libqos/virtio-cryptodev.[ch]
commit "tests/qtest: add virtio-cryptodev-test" \
	"Each obligation of the device, then random and mutated chains."
left=$(find . -type f)
[ -z "$left" ] || { echo "qemu-patch: in no commit:" $left >&2; exit 1; }
# A patch begins with its commit's message.
for patch in "$here"/patches/*.patch; do
	patch -d "$work" -p1 --quiet <"$patch"
	commit "$(head -n 1 "$patch")" "$(sed -n '3,/^---/{/^---/d;p}' "$patch")"
done

rm -rf "$out"
commits=$(git -C "$work" rev-list --count HEAD)
git -C "$work" format-patch --quiet --cover-letter --output-directory "$out" "HEAD~$((commits - 1))"
ls "$out"/*.patch
