#!/usr/bin/env bash
# mariadb.sh: make sure that MariaDB's clients are there, for the tests of dumps. Nothing of Berth
# itself is.
#
# Usage: scripts/mariadb.sh
#
# When they are there it says nothing and exits 0. Otherwise, as root on Debian or Ubuntu, it installs
# the distribution's. Elsewhere it says in one line what is missing, and exits 1.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=scripts/apt.sh
. "$here/apt.sh"

has_clients() { command -v mariadb >/dev/null 2>&1 && command -v mariadb-dump >/dev/null 2>&1; }

main() {
  has_clients && return 0
  if can_apt; then
    say "MariaDB's clients are not here; installing mariadb-client"
    apt_install mariadb-client || die "MariaDB's clients could not be installed; see apt's words above"
    has_clients && return 0
  fi
  die "mariadb and mariadb-dump are missing: install MariaDB's clients so that they are in PATH, and run this again"
}

main
