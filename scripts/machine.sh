#!/usr/bin/env bash
# machine.sh: a bare Debian machine without Docker, as somebody's server would be, on this one.
#
# Usage: scripts/machine.sh up       prints its address and the password of root, who may log in by ssh
#        scripts/machine.sh down     it goes, with everything that it has
#
# It has network, host name, processes, cgroups and disk of its own, and reaches nothing but this
# machine. sshd is all that runs. docker.io can be installed with apt-get, from packages that it has
# already, and a dockerd run in it then, by hand: it has no systemd.
#
# Its root filesystem is made once (2 minutes), kept in /var/cache/berth, and never written to: what
# a machine changes is its own. Settings: BERTH_MACHINE (dev-machine), its name; BERTH_MACHINE_OWNER, a
# process with which it may go; BERTH_ENGINE_CACHE (/var/cache/berth).
# As root on Debian or Ubuntu it installs what is missing; elsewhere it says in one line what that is.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=scripts/apt.sh
. "$here/apt.sh"
# shellcheck source=scripts/testbed.sh
. "$here/testbed.sh"

# Raise it when a change below must reach machines that have the root filesystem already.
recipe=1
suite=bookworm
cache=${BERTH_ENGINE_CACHE:-/var/cache/berth}
root=$cache/machine-$suite-$recipe

make_root() {
  [ ! -d "$root" ] || return 0
  local log option options=() started=$SECONDS
  mkdir -p "$cache"
  exec 8>"$(berth_lock_dir)/machine.lock"
  flock -w 600 8 || die "another run has been making the machine's root filesystem for ten minutes; giving up"
  [ ! -d "$root" ] || { exec 8>&-; return 0; }
  if ! command -v mmdebstrap >/dev/null 2>&1; then
    can_apt || die "mmdebstrap is missing, which makes the machine's root filesystem: install it (Debian, Ubuntu)"
    say "installing mmdebstrap"
    apt_install mmdebstrap debian-archive-keyring
  fi
  say "making the root filesystem of a bare machine, once"
  rm -rf --one-file-system "$cache/machine-"*
  log=$(mktemp)
  for option in '/usr/share/doc/*' '/usr/share/man/*' '/usr/share/locale/*'; do options+=("--dpkgopt=path-exclude=$option"); done
  # With apt's lists and the packages of an engine, which it cannot fetch later.
  # shellcheck disable=SC2016
  if ! TMPDIR=$cache mmdebstrap --quiet --variant=minbase --include=openssh-server,iproute2,procps,ca-certificates \
    --aptopt='APT::Install-Recommends "false"' --aptopt='Acquire::Check-Valid-Until "false"' --aptopt='Acquire::Retries "3"' "${options[@]}" \
    --skip=cleanup/apt --customize-hook='APT_CONFIG=$MMDEBSTRAP_APT_CONFIG apt-get --yes install --download-only docker.io iptables' \
    --customize-hook='rm -f "$1"/etc/ssh/ssh_host_* "$1"/etc/resolv.conf' \
    "$suite" "$root.new" >"$log" 2>&1 </dev/null 8>&-; then
    tail -n 15 "$log" | cut -c 1-300 >&2
    die "making the root filesystem of a bare machine failed"
  fi
  rm -f "$log"
  mv "$root.new" "$root"
  say "made it in $((SECONDS - started)) s, $(du -sm "$root" | cut -f 1) MB"
  exec 8>&-
}

up() {
  local dir=$bed/machine password
  make_root
  mkdir -p "$dir/disk" "$dir/work" "$dir/docker" "$dir/root"
  [ -z "${BERTH_MACHINE_OWNER:-}" ] || testbed_own "$BERTH_MACHINE_OWNER"
  testbed_network
  if ! testbed_alive "$dir"; then
    testbed_end "$dir"
    password=$(head -c 15 /dev/urandom | base64 | tr '+/' 'xy')
    (umask 077 && printf '%s\n' "$password" >"$dir/password")
    testbed_keep "$dir" sh "$here/machine-init.sh" "$dir" "$root" "${bed##*/}" "$testbed_pid"
    testbed_join "$dir" "$subnet.10"
  fi
  for _ in {1..300}; do
    if (exec 3<>"/dev/tcp/$subnet.10/22") 2>/dev/null; then printf '%s %s\n' "$subnet.10" "$(cat "$dir/password")"; return 0; fi
    testbed_alive "$dir" || break
    sleep 0.1
  done
  tail -n 20 "$dir/log" >&2
  die "the machine does not take logins"
}

case "${1:-} $#" in
  'up 1' | 'down 1') ;;
  *) die 'usage: machine.sh up | down' ;;
esac
testbed_need
testbed_open "${BERTH_MACHINE:-dev-machine}"
case $1 in
  up) up ;;
  down) testbed_close ;;
esac
