#!/usr/bin/env bash
# node.sh: make sure that Node and npm are there, for the tests with clients that are written in
# JavaScript. Nothing of Berth itself is.
#
# Usage: scripts/node.sh
#
# When both are there it says nothing and exits 0. Otherwise, as root on Debian or Ubuntu, it installs
# the distribution's. Elsewhere it says in one line what is missing, and exits 1.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=scripts/apt.sh
. "$here/apt.sh"

oldest=18 # what internal/clients/js/package.json asks for

has_node() {
  local version
  command -v npm >/dev/null 2>&1 || return 1
  version=$(node --version 2>/dev/null) || return 1
  version=${version#v}
  [ "${version%%.*}" -ge "$oldest" ]
}

main() {
  has_node && return 0
  if can_apt; then
    say "no Node $oldest with npm is here; installing nodejs and npm"
    apt_install nodejs npm || die "Node could not be installed; see apt's words above"
    has_node && return 0
  fi
  die "Node $oldest or newer and npm are missing: install them so that node and npm are in PATH, and run this again"
}

main
