#!/usr/bin/env bash
# engine.sh: make sure that tests can start a Docker engine of their own, to stop and kill it.
#
# Usage: scripts/engine.sh
#
# They need dockerd and containerd, and ip and nsenter for a network namespace. The engine that
# scripts/docker.sh installs brings the first two. When all are there it says nothing and exits 0.
# Otherwise, as root on Debian or Ubuntu, it installs what is missing; elsewhere it says in one
# line what that is, and exits 1. That tests need to be root as well is theirs to say.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=scripts/apt.sh
. "$here/apt.sh"

packages=()
command -v ip >/dev/null 2>&1 || packages+=(iproute2)
command -v nsenter >/dev/null 2>&1 || packages+=(util-linux)
if ! command -v dockerd >/dev/null 2>&1 || ! command -v containerd >/dev/null 2>&1; then packages+=(docker.io iptables); fi

[ "${#packages[@]}" -gt 0 ] || exit 0
can_apt || die "tests start a Docker engine of their own, for which this machine lacks: ${packages[*]} (names of Debian's packages)"
say "installing ${packages[*]}, for the tests' own Docker engine"
apt_install "${packages[@]}"
