#!/usr/bin/env bash
# sshd.sh: make sure that OpenSSH's server is there, for the tests of machines that are reached by SSH.
# Nothing of Berth itself is: it logs in by a client of its own.
#
# Usage: scripts/sshd.sh
#
# When it is there it says nothing and exits 0. Otherwise, as root on Debian or Ubuntu, it installs the
# distribution's, which is not to be run: the tests start their own, on ports of 127.0.0.1. Elsewhere it says
# in one line what is missing, and exits 1.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=scripts/apt.sh
. "$here/apt.sh"

has_sshd() { PATH=$PATH:/usr/sbin:/usr/local/sbin command -v sshd >/dev/null 2>&1; }

# Nobody has asked for a server that the whole network can reach, now or after the next boot. Debian's has a
# mark for that.
not_to_be_run() {
  mkdir -p /etc/ssh
  : >/etc/ssh/sshd_not_to_be_run
}

main() {
  has_sshd && return 0
  if can_apt; then
    say "OpenSSH's server is not here; installing openssh-server (/etc/ssh/sshd_not_to_be_run keeps it from running)"
    not_to_be_run
    apt_install openssh-server || die "OpenSSH's server could not be installed; see apt's words above"
    has_sshd && return 0
  fi
  die "sshd is missing: install OpenSSH's server (it need not run), and run this again"
}

main
