#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Gets what the test bed needs of Debian's packages into folders of its own, without installing
# anything. The one place where apt is set up for suites that this machine's is not set up for.
#
#   debian.sh source FOLDER PACKAGE[/SUITE]     trixie's source package, or SUITE's: its files, not
#                                               unpacked
#   debian.sh unpack FOLDER PACKAGE[/SUITE]...  just these packages
#   debian.sh root FOLDER SUITE PACKAGE... [-PACKAGE...]
#                                               these, of SUITE, with all that they depend on,
#                                               without those after a "-"
#   debian.sh show PACKAGE[/SUITE]              what apt knows of it
#   debian.sh system-unpack FOLDER PACKAGE...   just these, as this machine's own apt has them
#
# A FOLDER that is there is left as it is. One that is made is made beside, and moved there when it is
# complete; what was downloaded before it was cut off is not downloaded again.
set -euo pipefail

apt=${CACHE:?is to be set to the folder that everything is kept in}/apt
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
say() { echo "debian.sh: $*" >&2; }

# Where this machine's apt has Debian from.
mirror() {
	local found
	found=$(apt-get indextargets --format '$(ORIGIN)|$(LABEL)|$(REPO_URI)' |
		awk -F '|' '$1 == "Debian" && $2 == "Debian" && $3 !~ /^(cdrom|file):/ { print $3; exit }')
	if [ -z "$found" ]; then
		say "apt names no Debian mirror: add a deb or deb-src line for Debian to" \
			"/etc/apt/sources.list and run apt-get update"
		exit 69
	fi
	echo "$found"
}

# Sets apt up with lists of its own: of the system's configuration only the mirror is read, and
# how it is reached. Nothing counts as installed.
use_private_apt() {
	local sources from
	[ -f "$keyring" ] || { say "Missing: apt-get install debian-archive-keyring"; exit 69; }
	mkdir -p "$apt/lists/partial" "$apt/cache/archives/partial"
	from=$(mirror)
	sources=$(
		for suite in trixie bookworm; do
			echo "deb-src [signed-by=$keyring] $from $suite main"
		done
		for suite in trixie trixie-backports bookworm-backports; do
			echo "deb [signed-by=$keyring] $from $suite main"
		done
	)
	options=(-qq -o "Dir::Etc::sourcelist=$apt/sources.list" -o Dir::Etc::sourceparts=-
		-o Dir::Etc::preferences=/dev/null -o Dir::Etc::preferencesparts=/dev/null
		-o "Dir::State=$apt" -o "Dir::State::lists=$apt/lists" -o Dir::State::status=/dev/null
		-o "Dir::Cache=$apt/cache" -o APT::Architecture=amd64 -o APT::Architectures=amd64
		-o APT::Sandbox::User=root -o Acquire::Languages=none
		-o APT::Install-Recommends=false -o APT::Update::Error-Mode=any)
	if [ "$sources" != "$(cat "$apt/sources.list" 2>/dev/null)" ]; then
		rm -f "$apt/updated"
		echo "$sources" >"$apt/sources.list"
	fi
	# Lists name files that the mirror drops some time after; a day old they are good.
	[ -n "$(find "$apt/updated" -mmin -1440 2>/dev/null)" ] && return
	if apt-get "${options[@]}" update; then
		touch "$apt/updated"
	elif [ -f "$apt/updated" ]; then
		say "the lists of packages are of $(date -r "$apt/updated" +%F), and remain so"
	else
		exit 69
	fi
}

# Unpacks packages, in apt's words, into the folder $1.
unpack() {
	local folder=$1 partial=$1.partial files
	shift
	# What is there from before is of use if it is the same files.
	files=$(apt-get "${options[@]}" download --print-uris "$@")
	if [ "$files" != "$(cat "$partial/files" 2>/dev/null)" ]; then
		rm -rf "$partial"
		mkdir -p "$partial/debs"
		echo "$files" >"$partial/files"
	fi
	(cd "$partial/debs" && apt-get "${options[@]}" download "$@")
	rm -rf "$partial/tree"
	mkdir "$partial/tree"
	for deb in "$partial"/debs/*.deb; do
		dpkg -x "$deb" "$partial/tree"
	done
	mv "$partial/tree" "$folder"
	rm -rf "$partial"
}

# Prints packages of the suite $1 with what they depend on, each as NAME=VERSION.
closure() {
	local suite=$1 wanted=() without=" " word
	shift
	for word in "$@"; do
		case $word in
		-*) without+="${word#-} " ;;
		*) wanted+=("$word") ;;
		esac
	done
	apt-get "${options[@]}" -t "$suite" --simulate install "${wanted[@]}" |
		sed -n 's/^Inst \([^ ]*\) (\([^ ]*\) .*/\1 \2/p' |
		while read -r name version; do
			case $without in *" $name "*) ;; *) echo "$name=$version" ;; esac
		done
}

# Gets the files of the source package $2 into the folder $1.
get_source() {
	mkdir -p "$1.partial"
	(cd "$1.partial" && apt-get "${options[@]}" source --download-only "$2")
	mv "$1.partial" "$1"
}

usage() {
	sed -n '/^#   /s/^#   //p' "$0" >&2
	exit 64
}

[ $# -ge 2 ] || usage
command=$1
shift
mkdir -p "$CACHE"
exec 8>"$CACHE/lock.debian"
flock 8
[ "$command" = show ] || [ ! -e "$1" ] || exit 0
case $command in
system-unpack) options=(-qq) ;;
*) use_private_apt ;;
esac
case $command in
source) get_source "$1" "$2" ;;
unpack | system-unpack) unpack "$@" ;;
root)
	mapfile -t packages < <(closure "${@:2}")
	[ ${#packages[@]} -gt 0 ] || exit 69
	unpack "$1" "${packages[@]}"
	;;
show) apt-cache "${options[@]}" show "$1" ;;
*) usage ;;
esac
