#!/bin/sh
# Installs the pinned npm packages (Bun itself is one of them) unless the
# installed tree already is the one that package-lock.json describes.
set -eu
if [ ! -f node_modules/.package-lock.json ] ||
	[ package-lock.json -nt node_modules/.package-lock.json ]; then
	echo "Installing the pinned npm packages ..." >&2
	npm ci --include=dev --no-audit --no-fund --loglevel=error >&2
	touch node_modules/.package-lock.json
fi
# An npm that is set to run no install scripts leaves Bun's launcher a stub.
if ! node_modules/.bin/bun --version >/dev/null 2>&1; then
	node node_modules/bun/install.js >&2
	node_modules/.bin/bun --version >/dev/null
fi
