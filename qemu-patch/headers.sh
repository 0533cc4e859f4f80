#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Makes a copy of the device's layout from the one that is kept by hand, linux-driver's:
#
#   headers.sh core FILE      for the core and its transports: plain C
#   headers.sh qemu FILE      for QEMU's include/standard-headers/linux
set -eu

here=$(cd "$(dirname "$0")" && pwd)
case $1 in
core) types='<stdint.h>' ;;
qemu) types='"standard-headers\/linux\/types.h"' ;;
*) echo "headers.sh core|qemu FILE" >&2; exit 64 ;;
esac
mkdir -p "$(dirname "$2")"
sed -e "s/<linux\/types.h>/$types/" -e 's/__le\(16\|32\|64\)/uint\1_t/; s/__u8\b/uint8_t/' \
	-e 's/This is the copy that is/Generated from/' \
	-e 's/kept by hand; .* it\./linux-driver\/virtio_cryptodev.h; fields are little-endian./' \
	"$here/../linux-driver/virtio_cryptodev.h" >"$2.partial"
# Only what has changed, so that an incremental build stays one.
if cmp -s "$2.partial" "$2"; then rm "$2.partial"; else mv "$2.partial" "$2"; fi
