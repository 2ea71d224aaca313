#!/usr/bin/env bash
# Builds an earlier release of Berth and runs the rolling upgrade from it to this tree.
# RELEASE: the commit or tag to upgrade from.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
release=${RELEASE:?RELEASE must name the commit or tag to upgrade from}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
if ! git cat-file -e "$release^{commit}" 2>/dev/null; then
	echo "upgrade.sh: this clone does not have $release; fetch its history (git fetch --unshallow) or set RELEASE" >&2
	exit 1
fi
mkdir "$folder/source"
git archive "$release" | tar -x -C "$folder/source"
(cd "$folder/source" && go build -trimpath -ldflags "-X main.version=before" -o "$folder/before" ./cmd/berth)
go build -trimpath -ldflags "-X main.version=after" -o "$folder/after" ./cmd/berth
BERTH_BEFORE=$folder/before BERTH_AFTER=$folder/after go test -tags upgrade -count=1 -timeout 15m ./internal/upgrade
