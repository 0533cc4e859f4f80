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
trap 'rm -rf "$work"' EXIT

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

add() {
	for file in "$@"; do
		mkdir -p "$work/$(dirname "$file")"
		cp "$here/files/$file" "$work/$file"
	done
}
add include/standard-headers/linux/virtio_cryptodev.h
commit "standard-headers: add virtio_cryptodev.h" \
	"The layout of the virtio cryptodev device's requests and configuration."
add include/hw/virtio/virtio-cryptodev.h hw/virtio/virtio-cryptodev.c \
	hw/virtio/virtio-cryptodev-algorithms.c hw/virtio/virtio-cryptodev-builtin.c hw/virtio/virtio-cryptodev-host.c
commit "hw/virtio: add the cryptodev device" \
	"It offers the host's /dev/crypto, or QEMU's crypto library, to programs in a guest."
add hw/virtio/virtio-cryptodev-pci.c
commit "hw/virtio: add virtio-cryptodev-pci" "The device's PCI binding, modern only."
add tests/qtest/virtio-cryptodev-test.c tests/qtest/libqos/virtio-cryptodev.c \
	tests/qtest/libqos/virtio-cryptodev.h
commit "tests/qtest: add virtio-cryptodev-test" \
	"Each obligation of the device, then random and mutated chains."
# A patch begins with its commit's message.
for patch in "$here"/patches/*.patch; do
	patch -d "$work" -p1 --quiet <"$patch"
	commit "$(head -n 1 "$patch")" "$(sed -n '3,/^---/{/^---/d;p}' "$patch")"
done

rm -rf "$out"
commits=$(git -C "$work" rev-list --count HEAD)
git -C "$work" format-patch --quiet --cover-letter --output-directory "$out" "HEAD~$((commits - 1))"
ls "$out"/*.patch
