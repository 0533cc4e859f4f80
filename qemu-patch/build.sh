#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
#   build.sh                 gets QEMU's source, adds the device, configures and builds
#   build.sh check           the same under AddressSanitizer, and runs the device's qtests
#   build.sh libvhost-user   gets just QEMU's library for vhost-user devices, without building it
#
# What is built is a test bed: one kind of machine, few devices, no display, no disk formats, not the
# security updates that a distribution gives its QEMU. The device itself is for any QEMU, by the
# patches that series.sh writes, and for a stock one by vhost-user/.
#
# Each step is done in a place of its own and moved there when it is complete, so that one that was cut
# off is done again; a lock keeps two runs apart.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "${CACHE:?is set by the Makefile: run make}"
# The library does not wait for a QEMU to be built.
case ${1:-} in
libvhost-user) exec 9>"$CACHE/lock.libvhost-user" ;;
*) exec 9>"$CACHE/lock" ;;
esac
flock 9

src=$CACHE/qemu-src
out=$CACHE/qemu-build
download=$CACHE/qemu-download
say() { echo "qemu-patch: $*" >&2; }

# Commands and files by the Debian package that has them.
COMMON_PACKAGES="
	gcc gcc
	make make
	/usr/include/stdio.h libc6-dev
	apt-get apt
	dpkg-source dpkg-dev
	xz xz-utils
	/usr/share/keyrings/debian-archive-keyring.gpg debian-archive-keyring"
VHOST_USER_PACKAGES="
	/usr/include/openssl/evp.h libssl-dev
	/usr/include/seccomp.h libseccomp-dev"
QEMU_PACKAGES="
	patch patch
	ninja ninja-build
	pkg-config pkg-config
	flex flex
	bison bison
	/var/lib/dpkg/info/python3-venv.list python3-venv
	/usr/include/glib-2.0/glib.h libglib2.0-dev
	/usr/include/zlib.h zlib1g-dev
	/usr/include/libfdt.h libfdt-dev
	/usr/include/nettle/aes.h nettle-dev
	/usr/include/slirp/libslirp.h libslirp-dev
	/usr/include/attr/libattr.h libattr1-dev
	/usr/include/cap-ng.h libcap-ng-dev"

# Ends with the one command that installs all that is missing of such lists.
require() {
	local needs package missing=
	while read -r needs package; do
		case $needs in
		"") ;;
		/*) [ -e "$needs" ] || missing+=" $package" ;;
		*) command -v "$needs" >/dev/null || missing+=" $package" ;;
		esac
	done < <(printf '%s\n' "$@")
	[ -z "$missing" ] && return
	say "Missing packages. On Debian: apt-get install$missing"
	exit 69
}

# Prints the tarball of the newest 10.0.x that Debian has, or of the one that is there already.
tarball() {
	"$here/debian.sh" source "$download" qemu
	ls "$download"/qemu_*.orig.tar.xz
}

# QEMU's source with the patches.
fetch_source() {
	local tmp=$CACHE/qemu-src.partial
	rm -rf "$tmp"
	if [ -n "$QEMU_SRC" ]; then
		say "copying $QEMU_SRC"
		cp -a "$QEMU_SRC" "$tmp"
	else
		say "getting QEMU's source from Debian"
		tarball >/dev/null
		# With Debian's patches, since its tarball is without the firmware that the build expects.
		dpkg-source --no-check -x "$download"/qemu_*.dsc "$tmp" >/dev/null
	fi
	for patch in "$here"/patches/*.patch; do
		patch -d "$tmp" -p1 --quiet <"$patch"
	done
	cat "$here"/patches/*.patch | sha256sum >"$tmp/.virtio-cryptodev"
	rm -rf "$src" "$out" "$CACHE/qemu-asan"
	mv "$tmp" "$src"
}

# subprojects/libvhost-user by itself. Its headers are links to files elsewhere in QEMU's source.
libvhost_user() {
	local lib=$CACHE/libvhost-user tmp=$CACHE/libvhost-user.partial archive
	local parts=(subprojects/libvhost-user include/qemu/atomic.h include/qemu/compiler.h
		include/standard-headers/linux)
	[ -z "$QEMU_SRC" ] && [ "$(cat "$lib/.from" 2>/dev/null)" = Debian ] && return
	rm -rf "$tmp"
	mkdir -p "$tmp/tree"
	if [ -n "$QEMU_SRC" ]; then
		tar -C "$QEMU_SRC" -c "${parts[@]}" | tar -C "$tmp/tree" -x
	else
		say "getting libvhost-user from QEMU's source"
		archive=$(tarball)
		tar -C "$tmp/tree" -xf "$archive" --strip-components=1 --wildcards "${parts[@]/#/*/}"
	fi
	cp -rL "$tmp/tree/subprojects/libvhost-user" "$tmp/lib"
	echo "${QEMU_SRC:-Debian}" >"$tmp/lib/.from"
	# Only what has changed, so that an incremental build stays one.
	if ! diff -r "$tmp/lib" "$lib" >/dev/null 2>&1; then
		rm -rf "$lib"
		mv "$tmp/lib" "$lib"
	fi
	rm -rf "$tmp"
}

# QEMU's build wants a newer meson than Debian 12 has: from backports, unpacked beside the rest and
# used for this build only.
ensure_build_tools() {
	local tools=$CACHE/build-tools
	"$here/debian.sh" unpack "$tools" meson/bookworm-backports
	export PYTHONPATH=$tools/usr/lib/python3/dist-packages
	export PATH=$tools/usr/bin:$PATH
}

# Configures into $1 with further options.
configure() {
	local out=$1
	shift
	say "configuring $out"
	mkdir -p "$out"
	(cd "$out" && "$src/configure" --python=/usr/bin/python3 --target-list=x86_64-softmmu \
		--without-default-features --without-default-devices \
		--with-devices-x86_64=virtio-cryptodev \
		--enable-tcg --enable-kvm --enable-nettle --enable-slirp --enable-fdt=system \
		--disable-docs --disable-werror --disable-install-blobs \
		--enable-trace-backends=log "$@" >"$CACHE/configure.log" 2>&1) || {
		tail -n 30 "$CACHE/configure.log" >&2
		rm -rf "$out"
		exit 1
	}
}

# Builds targets in $1, which is configured where it is not.
build() {
	local out=$1 log=$CACHE/build.log
	shift
	say "building in $out"
	ninja -C "$out" "$@" >"$log" 2>&1 || {
		grep -E 'error:|FAILED|warning:' "$log" | head -n 40 >&2
		say "failed; see $log"
		exit 1
	}
}

# The device's qtests, under AddressSanitizer: what it owes its specification, and a hostile guest.
check() {
	local asan=$CACHE/qemu-asan tests
	[ -f "$asan/build.ninja" ] || configure "$asan" --enable-asan
	build "$asan" qemu-system-x86_64 tests/qtest/qos-test
	# qtest tells the architecture by the program's name, and the firmware is not where QEMU looks.
	mkdir -p "$CACHE/qtest"
	cat >"$CACHE/qtest/qemu-system-x86_64" <<-EOF
		#!/bin/sh
		exec "$asan/qemu-system-x86_64" -L "$FIRMWARE" "\$@"
	EOF
	chmod +x "$CACHE/qtest/qemu-system-x86_64"
	export QTEST_QEMU_BINARY=$CACHE/qtest/qemu-system-x86_64 ASAN_OPTIONS=detect_leaks=0
	tests=$("$asan/tests/qtest/qos-test" -l | grep /virtio-cryptodev-tests/)
	for name in $tests; do
		# What the device says of broken chains is expected, and much.
		"$asan/tests/qtest/qos-test" --tap -k -p "$name" 2>"$CACHE/qtest.log" |
			grep -E '^(ok|not ok|Bail|# (seed|[0-9]+ answered))' || {
			grep -vE '^qemu-system-x86_64: virtio' "$CACHE/qtest.log" | tail -n 60 >&2
			exit 1
		}
	done
}

if [ "${1:-}" = libvhost-user ]; then
	require "$COMMON_PACKAGES" "$VHOST_USER_PACKAGES"
	libvhost_user
	exit
fi
require "$COMMON_PACKAGES" "$QEMU_PACKAGES"
"$here/debian.sh" unpack "$CACHE/firmware" seabios/trixie qemu-system-data/trixie
wanted=$(cat "$here"/patches/*.patch | sha256sum)
if [ "$(cat "$src/.virtio-cryptodev" 2>/dev/null)" != "$wanted" ] || [ -n "$QEMU_SRC" ]; then
	fetch_source
fi
"$here/layout.sh" "$src"
ensure_build_tools
if ! cmp -s "$here/device.mak" "$src/configs/devices/x86_64-softmmu/virtio-cryptodev.mak"; then
	rm -rf "$out" "$CACHE/qemu-asan"
	cp "$here/device.mak" "$src/configs/devices/x86_64-softmmu/virtio-cryptodev.mak"
fi
if [ "${1:-}" = check ]; then
	check
	exit
fi
[ -f "$out/build.ninja" ] || configure "$out"
build "$out" qemu-system-x86_64
say "built $out/qemu-system-x86_64: a test bed, not to run machines that matter"
