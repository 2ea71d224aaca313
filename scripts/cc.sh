#!/usr/bin/env bash
# cc.sh: make sure that there is a C compiler, for Go's race detector and for what stands in for
# Redis's modules where no registry answers.
#
# Usage: scripts/cc.sh
#
# Nothing of Berth itself is C: the program is built without cgo.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=scripts/apt.sh
. "$here/apt.sh"

! command -v "${CC:-gcc}" >/dev/null 2>&1 || exit 0
can_apt || die "no C compiler: install gcc (the race detector of \`go test -race\` and scripts/images.sh need one)"
say "installing gcc, which the race detector and the stand-ins for Redis's modules need"
apt_install gcc libc6-dev
