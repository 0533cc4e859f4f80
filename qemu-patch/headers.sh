#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Makes copies of the two headers that are kept by hand, linux-driver's:
#
#   headers.sh core FILE      the device's layout for the core and its transports: plain C
#   headers.sh qemu FILE      the same for QEMU's include/standard-headers/linux
#   headers.sh host FILE      the ABI of /dev/crypto for the backend that is a host's program: plain C
#   headers.sh cshim FILE     the same for Bun's cc, on machines that have no header to include:
#                             ../cshim/cryptodev_abi.h, which is committed
set -eu

here=$(cd "$(dirname "$0")" && pwd)
layout=$here/../linux-driver/virtio_cryptodev.h
include=$here/../linux-driver/include
abi=$include/crypto/cryptodev.h

# The device's layout, whose fixed-width types are in the header $1
layout() {
	sed -e "s|<linux/types.h>|$1|" -e 's/__le\(16\|32\|64\)/uint\1_t/; s/__u8\b/uint8_t/' \
		-e 's/This is the copy that is/Generated from/' \
		-e 's/kept by hand; .* it\./linux-driver\/virtio_cryptodev.h; fields are little-endian./' \
		"$layout"
}

# The ABI without what is the kernel's, under an include guard of its own
abi() {
	sed -e '/^\/\* The kernel.s word/,/^$/d' -e '/^#ifdef _CRYPTODEV_NO_USER/,/^$/d' \
		-e 's/__user //' -e 's/_CRYPTO_CRYPTODEV_H/CRYPTODEV_ABI_H/' \
		-e 's/This is the copy that is kept by hand; headers.sh in/Generated from/' \
		-e 's|qemu-patch/ makes others from it\.|linux-driver/include/crypto/cryptodev.h.|' "$abi"
}

# A sed script that puts numbers in the place of ioctls' definitions
numbers() {
	program=$(mktemp)
	{
		printf '%s\n' '#include <crypto/cryptodev.h>' '#include <stdio.h>' 'int main(void) {'
		# shellcheck disable=SC2016
		sed -n 's/^#define \(C[A-Z]*\)\t.*_IO[WR]*(.*/printf("s\/^#define \1\\t.*\/#define \1\\t0x%08lxUL\/\\n", (unsigned long)\1);/p' "$abi"
		echo 'return 0; }'
	} | ${CC:-cc} -x c -I"$include" -o "$program" -
	"$program"
	rm "$program"
}

copy() {
	case $1 in
	core) layout '<stdint.h>' ;;
	qemu) layout '"standard-headers/linux/types.h"' ;;
	host) abi | sed -e 's|<linux/ioctl.h>|<stdint.h>|' -e 's|<linux/types.h>|<sys/ioctl.h>|' \
		-e 's/__u\(8\|16\|32\)/uint\1_t/' ;;
	cshim)
		script=$(numbers)
		abi | sed -e '/^#include <linux\/ioctl.h>/d' \
			-e 's/^#include .*/typedef unsigned char u8;\ntypedef unsigned short u16;\ntypedef unsigned int u32;/' \
			-e 's/__u\(8\|16\|32\)/u\1/' -e "$script"
		;;
	esac
}

case ${1:-} in
core | qemu | host | cshim) ;;
*) echo "headers.sh core|qemu|host|cshim FILE" >&2; exit 64 ;;
esac
mkdir -p "$(dirname "$2")"
copy "$1" >"$2.partial"
# Only what has changed, so that an incremental build stays one.
if cmp -s "$2.partial" "$2"; then rm "$2.partial"; else mv "$2.partial" "$2"; fi
