#!/usr/bin/env bash
# second-engine.sh: run a command beside another Docker engine than this machine's.
#
# Usage: scripts/second-engine.sh SUITE COMMAND [ARGUMENT…]
#
# SUITE is the Debian release whose engine it is: trixie (26.1.5), sid (28.5.2). The command runs in
# the engine's network, where 127.0.0.1 is the address that containers' ports are published on, and
# finds it by DOCKER_HOST and BERTH_DOCKER_HOST; it has no other network. The images that Berth's
# tests need are there. docker-compose is v2, the suite's own, unless this machine has the plugin.
#
# The engine runs from a root filesystem of its own, which is made once (20 s) and kept in
# /var/cache/berth. Everything else belongs to this run: its processes share a process namespace
# that ends with the script, however that ends, and its data are removed, if need be by the next run.
# Settings: BERTH_ENGINE_CONFIG (a daemon.json), BERTH_ENGINE_WAIT (seconds until it answers, 60),
# BERTH_ENGINE_CACHE (/var/cache/berth), BERTH_ENGINE_IMAGES (mysql:9.7 redis:8 redis:7).
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=scripts/apt.sh
. "$here/apt.sh"

# Raise it when a change below must reach machines that have the root filesystems already.
recipe=2

wait_seconds=${BERTH_ENGINE_WAIT:-60}
cache=${BERTH_ENGINE_CACHE:-/var/cache/berth}
read -r -a images <<<"${BERTH_ENGINE_IMAGES:-mysql:9.7 redis:8 redis:7}"
# Short, because of the sockets in it; the same inside and outside of the root filesystem.
base=/var/lib/berth-engines

[ $# -ge 2 ] || die "usage: second-engine.sh SUITE COMMAND [ARGUMENT…]"
suite=$1
shift
case $suite in
  trixie | sid) ;;
  *) die "there is no recipe for an engine of $suite (there is for trixie and sid)" ;;
esac

dir='' keeper='' inside=''
clean_up() {
  local status=$?
  trap '' INT TERM
  if [ -n "$keeper" ]; then
    # TERM has the engine end its containers in order; the end of the namespace ends the rest.
    [ -z "$inside" ] || kill -TERM "$inside" 2>/dev/null || true
    for _ in {1..100}; do kill -0 "$keeper" 2>/dev/null || break; sleep 0.1; done
    kill -KILL "$keeper" 2>/dev/null || true
    wait "$keeper" 2>/dev/null || true
  fi
  [ -z "$dir" ] || remove "$dir" || say "$dir could not be removed; the next run tries again"
  exit "$status"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# remove FOLDER: what an engine has left, on disk and in the cgroups. The kernel takes a moment to
# let go of what the processes had.
remove() {
  local group try left
  for try in {1..20}; do
    left=no
    for group in /sys/fs/cgroup/*/"${1##*/}" /sys/fs/cgroup/"${1##*/}"; do
      [ -d "$group" ] || continue
      find "$group" -depth -type d -exec rmdir '{}' ';' 2>/dev/null || true
      [ ! -d "$group" ] || left=yes
    done
    # A cgroup that the kernel will not let go of is empty, and in nobody's way.
    if [ "$left" = no ] || [ "$try" -ge 4 ]; then
      rm -rf --one-file-system "$1" 2>/dev/null && return 0
    fi
    sleep 0.5
  done
  return 1
}

# child_of PID: the first process that it has started. Not every machine has pgrep.
child_of() {
  local stat fields
  for stat in /proc/[0-9]*/stat; do
    # After the name, which may hold anything: state and parent.
    fields=$(sed 's/.*) //' "$stat" 2>/dev/null | cut -d ' ' -f 2) || continue
    [ "$fields" != "$1" ] || { stat=${stat%/stat}; printf '%s\n' "${stat##*/}"; return 0; }
  done
  return 1
}

# What a run has left that could not clean up: its processes are gone, its lock is free.
sweep() {
  local old
  for old in "$base"/*/; do
    old=${old%/}
    [ -e "$old/lock" ] || continue
    # shellcheck disable=SC2094
    (flock -n 7 && remove "$old") 7<"$old/lock" || true
  done
}

need_tools() {
  [ "$(id -u)" = 0 ] || die "an engine of its own needs root"
  "$here/engine.sh"
  command -v mmdebstrap >/dev/null 2>&1 && return 0
  can_apt || die "mmdebstrap is missing, which makes the engine's root filesystem: install it (Debian, Ubuntu)"
  say "installing mmdebstrap"
  apt_install mmdebstrap debian-archive-keyring
}

# make_root: the engine's root filesystem, with no more than an engine needs. The packages are only
# unpacked: what their own scripts would do, as far as an engine wants it, is done here.
make_root() {
  root=$cache/engine-$suite-$recipe
  [ ! -d "$root" ] || return 0
  local work log started=$SECONDS option options=(--aptopt='APT::Install-Recommends "false"' --aptopt='Acquire::Check-Valid-Until "false"' --aptopt='Acquire::Retries "3"')
  mkdir -p "$cache"
  exec 8>"$(berth_lock_dir)/engine-$suite.lock"
  flock -w 600 8 || die "another run has been making the engine's root filesystem for ten minutes; giving up"
  if [ ! -d "$root" ]; then
    say "making the root filesystem of $suite's Docker engine, once for this machine"
    rm -rf --one-file-system "$cache/engine-$suite-"*
    work=$root.new log=$(mktemp)
    for option in '/usr/share/doc/*' '/usr/share/man/*' '/usr/share/locale/*' '/usr/lib/systemd/*'; do
      options+=("--dpkgopt=path-exclude=$option")
    done
    if ! TMPDIR=$cache mmdebstrap --quiet --variant=extract --include=docker.io,docker-cli,docker-compose,iptables,procps,busybox-static \
      "${options[@]}" "$suite" "$work" >"$log" 2>&1 </dev/null 8>&-; then
      tail -n 15 "$log" | cut -c 1-300 >&2
      die "making the root filesystem of $suite's Docker engine failed"
    fi
    rm -f "$log"
    local name
    for name in bin sbin lib lib64; do
      [ -e "$work/$name" ] || [ ! -d "$work/usr/$name" ] || ln -s "usr/$name" "$work/$name"
    done
    for name in iptables iptables-restore iptables-save ip6tables ip6tables-restore ip6tables-save; do
      [ -e "$work/usr/sbin/$name" ] || ln -s "${name/tables/tables-nft}" "$work/usr/sbin/$name"
    done
    [ -e "$work/usr/bin/busybox" ] || die "there is no busybox in the root filesystem of $suite"
    for name in sh cat; do [ -e "$work/usr/bin/$name" ] || ln -s busybox "$work/usr/bin/$name"; done
    mkdir -p "$work$base" "$work/proc" "$work/sys" "$work/dev" "$work/run" "$work/tmp" "$work/.old" "$work/compose"
    # Its compose runs outside of it, with its own libraries: files and sockets are then where the caller has them.
    # shellcheck disable=SC2016
    printf '%s\n' '#!/bin/sh' 'root=$(cd "$(dirname "$0")/.." && pwd)' \
      'exec "$root"/lib64/ld-linux-*.so.2 --library-path "$(echo "$root"/usr/lib/*-linux-gnu)" "$root/usr/libexec/docker/cli-plugins/docker-compose" "$@"' \
      >"$work/compose/docker-compose"
    chmod 0755 "$work/compose/docker-compose"
    rm -rf "$work/var/cache/apt" "$work/var/lib/apt"
    mv "$work" "$root"
    say "made it in $((SECONDS - started)) s, $(du -sm "$root" | cut -f 1) MB"
  fi
  exec 8>&-
}

# start: containerd and dockerd in namespaces of their own, whose first process ends with this script.
start() {
  mkdir -p "$dir/containerd" "$dir/data" "$dir/exec"
  printf '%s\n' "${BERTH_ENGINE_CONFIG:-{\}}" >"$dir/daemon.json"
  cat >"$dir/containerd.toml" <<END
version = 2
root = "$dir/containerd"
state = "$dir/exec/containerd"
disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.cri.v1.images", "io.containerd.cri.v1.runtime"]
[grpc]
  address = "$dir/containerd.sock"
END
  # In the new root everything is mounted that an engine needs, and the old one is let go.
  cat >"$dir/inside.sh" <<'END'
dir=$1
umount -l /.old
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
containerd --config "$dir/containerd.toml" --log-level warn &
for _ in $(seq 300); do [ ! -S "$dir/containerd.sock" ] || break; sleep 0.1; done
exec dockerd --host "unix://$dir/docker.sock" --containerd "$dir/containerd.sock" --pidfile "$dir/docker.pid" --data-root "$dir/data" \
  --exec-root "$dir/exec" --config-file "$dir/daemon.json" --log-level warn --shutdown-timeout 3 --exec-opt native.cgroupdriver=cgroupfs --cgroup-parent "/${dir##*/}"
END
  cat >"$dir/outside.sh" <<'END'
set -e
root=$1 dir=$2 base=$3
mount --bind "$root" "$root"
mount -o remount,bind,ro "$root"
mount -t proc proc "$root/proc"
mount --rbind /sys "$root/sys"
mount --rbind /dev "$root/dev"
mount -t tmpfs tmpfs "$root/run"
mount -t tmpfs tmpfs "$root/tmp"
mount --bind "$base" "$root$base"
cd "$root"
pivot_root . .old
cd /
exec /usr/bin/docker-init -- /usr/bin/busybox sh "$dir/inside.sh" "$dir"
END
  setpriv --pdeathsig KILL unshare --net --mount --uts --ipc --pid --fork --kill-child --propagation private \
    sh "$dir/outside.sh" "$root" "$dir" "$base" >"$dir/log" 2>&1 </dev/null 9>&- &
  keeper=$!
  local deadline=$((SECONDS + wait_seconds))
  until timeout 5 docker version --format '{{.Server.Version}}' >"$dir/version" 2>/dev/null; do
    if ! kill -0 "$keeper" 2>/dev/null || [ "$SECONDS" -ge "$deadline" ]; then
      tail -n 20 "$dir/log" >&2
      die "the Docker engine of $suite did not answer within $wait_seconds seconds"
    fi
    sleep 0.1
  done
  inside=$(child_of "$keeper") || die "the Docker engine of $suite has ended"
  nsenter --net --target "$inside" ip link set lo up
}

# load: those of the images that this machine has, the public ones or Berth's stand-ins.
load() {
  local ref name here=()
  for ref in "${images[@]}"; do
    for name in "$ref" "berth/$ref"; do
      if DOCKER_HOST=$first docker image inspect "$name" >/dev/null 2>&1; then here+=("$name"); break; fi
    done
  done
  [ "${#here[@]}" -gt 0 ] || die "none of the images ${images[*]} is here; run scripts/images.sh"
  DOCKER_HOST=$first timeout 300 docker save "${here[@]}" | timeout 300 docker load >"$dir/load.log" 2>&1 || {
    tail -n 5 "$dir/load.log" >&2
    die "the images could not be copied to the Docker engine of $suite"
  }
}

need_tools
first=${BERTH_DOCKER_HOST:-${DOCKER_HOST:-unix:///var/run/docker.sock}}
mkdir -p "$base"
sweep
make_root
dir=$(mktemp -d "$base/$suite.XXXXXX")
exec 9>"$dir/lock"
flock 9
export DOCKER_HOST=unix://$dir/docker.sock
export BERTH_DOCKER_HOST=$DOCKER_HOST
started=$SECONDS
start
load
say "Docker $(cat "$dir/version") answers, with its images, after $((SECONDS - started)) s"
status=0
PATH=$root/compose:$PATH nsenter --net --target "$inside" --wdns="$PWD" "$@" 9>&- || status=$?
exit "$status"
