# shellcheck shell=bash
# apt.sh: how Berth's set-up scripts install what is missing. To be sourced, not run.
# It owns the one question "may we install?" (root on Debian or Ubuntu) and the one way
# of doing it. It must not know what the packages are for.
#
#   say WORDS…          one line on stderr, marked with the script's name
#   die WORDS…          the same, then exit 1
#   can_apt             true when we are root on a system with apt-get
#   apt_has PACKAGE     true when apt knows a version of the package that it can install
#   apt_install PKG…    install without recommended packages and without questions

say() { printf '%s: %s\n' "${0##*/}" "$*" >&2; }
die() { say "$@"; exit 1; }

# The lock files of all scripts stay in one folder, whatever TMPDIR says; root's and a user's never meet.
berth_lock_dir() {
  local dir
  dir="/tmp/berth-locks.$(id -u)"
  mkdir -m 0700 "$dir" 2>/dev/null || true
  if [ ! -d "$dir" ] || [ ! -O "$dir" ]; then die "$dir cannot be made, or belongs to somebody else"; fi
  printf '%s\n' "$dir"
}

can_apt() {
  [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1 &&
    grep -qE '^ID(_LIKE)?=.*(debian|ubuntu)' /etc/os-release 2>/dev/null
}

# apt's lists, fetched once where an image came without them.
apt_lists() {
  compgen -G '/var/lib/apt/lists/*Packages*' >/dev/null || apt_quietly update
}

apt_has() {
  local candidate
  candidate=$(LC_ALL=C apt-cache policy "$1" 2>/dev/null | sed -n 's/^ *Candidate: //p')
  [ -n "$candidate" ] && [ "$candidate" != '(none)' ]
}

# apt_quietly runs apt-get without questions and shows its output only when it fails. A package may start
# a daemon while it is installed: that must not inherit our locks (8 and 9).
apt_quietly() {
  local log status=0
  log=$(mktemp)
  DEBIAN_FRONTEND=noninteractive apt-get -qq -y -o DPkg::Lock::Timeout=300 -o Dpkg::Use-Pty=0 "$@" \
    >"$log" 2>&1 </dev/null 8>&- 9>&- || status=$?
  [ "$status" = 0 ] || tail -n 15 "$log" >&2
  rm -f "$log"
  return "$status"
}

# Lists that are older than the archive name files that are gone: fetch them anew and try once more.
apt_install() {
  (
    flock 8
    apt_lists
    apt_quietly install --no-install-recommends "$@" && exit 0
    say "installing $* failed; fetching the package lists anew and trying once more"
    apt_quietly update || say "some package lists could not be fetched; going on with the others"
    apt_quietly install --no-install-recommends "$@"
  ) 8>"$(berth_lock_dir)/apt.lock"
}
