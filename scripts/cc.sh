#!/usr/bin/env bash
# cc.sh: make sure that there is a C compiler, which Go's race detector needs.
#
# Usage: scripts/cc.sh
#
# Nothing of Berth itself is C: the program is built without cgo.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=scripts/apt.sh
. "$here/apt.sh"

! command -v "${CC:-gcc}" >/dev/null 2>&1 || exit 0
can_apt || die "no C compiler: install gcc (the race detector of \`go test -race\` needs one)"
say "installing gcc, which the race detector needs"
apt_install gcc libc6-dev
