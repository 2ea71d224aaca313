#!/usr/bin/env bash
# chromium.sh: make sure that a Chromium is there, for the tests of Berth's pages.
#
# Usage: scripts/chromium.sh
#
# When one is there it says nothing and exits 0. Otherwise, as root on Debian, it installs the
# distribution's. Elsewhere it says in one line what is missing, and exits 1. (Ubuntu's package
# is a snap in disguise, which a container cannot run: there it asks for a browser, too.)
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=scripts/apt.sh
. "$here/apt.sh"

# The names that internal/smoke/browser_test.go looks for.
has_browser() {
  local name
  for name in chromium chromium-browser google-chrome google-chrome-stable headless-shell; do
    if command -v "$name" >/dev/null 2>&1; then return 0; fi
  done
  return 1
}

main() {
  has_browser && return 0
  if can_apt && ! grep -q '^ID=ubuntu' /etc/os-release; then
    say "no Chromium is here; installing chromium"
    apt_install chromium || die "chromium could not be installed; see apt's words above"
    has_browser && return 0
  fi
  die "a Chromium is missing: install chromium or Google Chrome so that it is in PATH, and run this again"
}

main
