#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Gets QEMU's source, adds the device's files, applies the patches, configures and builds. Each step
# is done in a place of its own and moved there when it is complete, so that one that was cut off is
# done again; a lock keeps two runs apart.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$CACHE"
exec 9>"$CACHE/lock"
flock 9

src=$CACHE/qemu-src
out=$CACHE/qemu-build
say() { echo "qemu-patch: $*" >&2; }

# An apt configuration of our own: the system's is neither read nor changed but for its mirror.
apt_private() {
	local apt=$CACHE/apt mirror
	mirror=$(apt-get indextargets --format '$(REPO_URI) $(CODENAME)' 'Created-By: Packages' |
		awk '$2 == "bookworm" || $2 == "trixie" { print $1; exit }')
	: "${mirror:=http://deb.debian.org/debian}"
	mkdir -p "$apt/lists/partial" "$apt/cache/archives/partial"
	cat >"$apt/sources.list" <<-EOF
		deb-src [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror trixie main
		deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror bookworm-backports main
	EOF
	apt_options=(-qq -o "Dir::Etc::sourcelist=$apt/sources.list" -o Dir::Etc::sourceparts=-
		-o "Dir::State::lists=$apt/lists" -o "Dir::Cache=$apt/cache" -o APT::Sandbox::User=root)
	apt-get "${apt_options[@]}" update
}

# The newest 10.0.x that Debian has.
fetch_source() {
	local tmp=$CACHE/qemu-src.partial
	rm -rf "$tmp"
	if [ -n "$QEMU_SRC" ]; then
		say "copying $QEMU_SRC"
		cp -a "$QEMU_SRC" "$tmp"
	else
		say "getting QEMU's source from Debian"
		apt_private
		(cd "$CACHE" && apt-get "${apt_options[@]}" source --download-only qemu)
		# With Debian's patches, since its tarball is without the firmware that the build expects.
		dpkg-source --no-check -x "$(ls "$CACHE"/qemu_*.dsc | sort -V | tail -n 1)" "$tmp" >/dev/null
	fi
	for patch in "$here"/patches/*.patch; do
		patch -d "$tmp" -p1 --quiet <"$patch"
	done
	cat "$here"/patches/*.patch | sha256sum >"$tmp/.virtio-cryptodev"
	rm -rf "$src" "$out" "$CACHE/qemu-asan"
	mv "$tmp" "$src"
}

# QEMU's build wants a newer meson than Debian 12 has: from backports, unpacked beside the rest and
# used for this build only.
ensure_build_tools() {
	local tools=$CACHE/build-tools
	if [ ! -x "$tools/usr/bin/meson" ]; then
		say "getting meson from backports"
		apt_private
		rm -rf "$tools.partial"
		mkdir -p "$tools.partial/debs"
		(cd "$tools.partial/debs" &&
			apt-get "${apt_options[@]}" download meson/bookworm-backports)
		for deb in "$tools.partial"/debs/*.deb; do
			dpkg -x "$deb" "$tools.partial"
		done
		rm -rf "$tools"
		mv "$tools.partial" "$tools"
	fi
	export PYTHONPATH=$tools/usr/lib/python3/dist-packages
	export PATH=$tools/usr/bin:$PATH
}

# Only what has changed, so that an incremental build stays one.
copy_files() {
	local file
	(cd "$here/files" && find . -type f) | while read -r file; do
		if ! cmp -s "$here/files/$file" "$src/$file"; then
			mkdir -p "$(dirname "$src/$file")"
			cp "$here/files/$file" "$src/$file"
		fi
	done
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

wanted=$(cat "$here"/patches/*.patch | sha256sum)
if [ "$(cat "$src/.virtio-cryptodev" 2>/dev/null)" != "$wanted" ] || [ -n "$QEMU_SRC" ]; then
	fetch_source
fi
copy_files
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
say "built $out/qemu-system-x86_64"
