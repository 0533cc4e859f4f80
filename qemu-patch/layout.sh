#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Lays the device's files out in the tree $1, as QEMU would have them: core and backends, which are
# shared with vhost-user/, in folders of their own. Copies only what has changed, so that an
# incremental build stays one.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
tree=$1
device=$tree/hw/virtio/cryptodev

put() {
	cmp -s "$1" "$2" && return
	mkdir -p "$(dirname "$2")"
	cp "$1" "$2"
}

(cd "$here/qemu" && find . -type f) | while read -r file; do
	put "$here/qemu/$file" "$tree/$file"
done
for file in "$here"/core/*.[ch]; do
	put "$file" "$device/core/$(basename "$file")"
done
for file in backends.h cryptodev.c null.c; do
	put "$here/backends/$file" "$device/backends/$file"
done
# Core and backends ask for layout and ABI by these names, wherever they are.
"$here/headers.sh" qemu "$tree/include/standard-headers/linux/virtio_cryptodev.h"
"$here/headers.sh" host "$tree/include/standard-headers/linux/cryptodev_abi.h"
include=$(mktemp)
trap 'rm "$include"' EXIT
refer() {
	printf '%s\n' >"$include" '/* SPDX-License-Identifier: GPL-2.0-or-later */' \
		"#include \"standard-headers/linux/$1\""
	put "$include" "$device/$2/$1"
}
refer virtio_cryptodev.h core
refer virtio_cryptodev.h backends
refer cryptodev_abi.h backends
