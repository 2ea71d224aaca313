#!/usr/bin/env bash
# fleet.sh: several Docker engines on one machine, as if each were on a host of its own.
#
# Usage: scripts/fleet.sh up N          N hosts h1 … hN; prints a line for each: name, endpoint, address, folder
#        scripts/fleet.sh kill HOST     its dockerd ends as in a crash; its containers run on
#        scripts/fleet.sh off HOST      all of it ends as in a power cut
#        scripts/fleet.sh start HOST    back after both
#        scripts/fleet.sh down          all of them go, with everything that they have
#
# Each engine has network, host name, processes, folders and id of its own, and is reached from this
# machine at tcp://ADDRESS:2375, its containers' ports at ADDRESS. The hosts reach each other and
# nothing else. FOLDER/volumes is the folder /run/volumes of the host. They have the images that this machine's engine has. Whatever is there already stays.
# As root on Debian or Ubuntu it installs what is missing; elsewhere it says in one line what that is.
#
# Settings: BERTH_FLEET (dev), the name of the fleet; BERTH_FLEET_IMAGES (mysql:9.7 redis:8);
# BERTH_FLEET_ENGINE, the beginning of each daemon.json ('"icc": false,'); BERTH_FLEET_OWNER, a process
# with which the fleet may go; BERTH_FLEET_WAIT (seconds, 120).
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=scripts/apt.sh
. "$here/apt.sh"
# shellcheck source=scripts/testbed.sh
. "$here/testbed.sh"

read -r -a images <<<"${BERTH_FLEET_IMAGES-mysql:9.7 redis:8}"
wait_seconds=${BERTH_FLEET_WAIT:-120}
shared=${BERTH_DOCKER_HOST:-${DOCKER_HOST:-unix:///var/run/docker.sock}}

number_of() { [[ $1 =~ ^h([1-9][0-9]?)$ ]] || die "there is no host $1"; printf '%s\n' "${BASH_REMATCH[1]}"; }
address_of() { printf '%s.%s\n' "$subnet" $((10 + $(number_of "$1"))); }
on() { timeout "$wait_seconds" docker --host "tcp://$(address_of "$1"):2375" "${@:2}"; }
answers() { timeout 5 docker --host "tcp://$(address_of "$1"):2375" version --format '{{.Server.Version}}' >/dev/null 2>&1; }

# configure HOST: Engines up to 20.10 take their id from a file of the machine unless they are told otherwise.
configure() {
  local dir=$bed/$1
  mkdir -p "$dir"
  printf '{%s "deprecated-key-path": "%s/key.json", "tls": false}\n' "${BERTH_FLEET_ENGINE:-}" "$dir" >"$dir/daemon.json"
  cat >"$dir/containerd.toml" <<END
version = 2
root = "$dir/containerd"
state = "$dir/containerd-state"
disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.cri.v1.images", "io.containerd.cri.v1.runtime"]
[grpc]
  address = "$dir/containerd.sock"
END
  cat >"$dir/inside.sh" <<END
dir=$dir
$testbed_pid
hostname $1
mount -t proc proc /proc
mount -t tmpfs tmpfs /run
mkdir -p "$dir/volumes" /run/volumes
mount --bind "$dir/volumes" /run/volumes
while :; do sleep 3600 & wait \$!; done
END
}

# in_background HOST LOG COMMAND…: a program of the host that outlives this script.
in_background() {
  local dir=$bed/$1 log=$bed/$1/$2
  shift 2
  (
    for name in $(compgen -e | grep -E '^(BERTH_|DOCKER_)' || true); do unset "$name"; done
    # With it, a swarm takes the images that a node has for good.
    export DOCKER_SERVICE_PREFER_OFFLINE_IMAGE=1
    cd "$dir"
    exec setsid nsenter --target "$(cat "$dir/pid")" --net --mount --uts --ipc --pid -- "$@" >>"$log" 2>&1 </dev/null 7>&- 8>&- 9>&-
  ) &
}

start() {
  local dir=$bed/$1 deadline=$((SECONDS + wait_seconds)) fresh=no
  [ -d "$dir" ] || fresh=yes
  if ! testbed_alive "$dir"; then
    testbed_end "$dir"
    configure "$1"
    rm -rf "$dir/containerd.sock" "$dir/containerd-state" "$dir/exec"
    testbed_keep "$dir" sh "$dir/inside.sh"
    testbed_join "$dir" "$(address_of "$1")"
    in_background "$1" containerd.log containerd --config "$dir/containerd.toml" --log-level warn
    until [ -S "$dir/containerd.sock" ]; do [ "$SECONDS" -lt "$deadline" ] || die "the containerd of $1 does not come up"; sleep 0.1; done
  fi
  if ! answers "$1"; then
    rm -f "$dir/docker.pid"
    in_background "$1" dockerd.log dockerd --host "tcp://$(address_of "$1"):2375" --containerd "$dir/containerd.sock" --pidfile "$dir/docker.pid" \
      --data-root "$dir/data" --exec-root "$dir/exec" --config-file "$dir/daemon.json" --log-level warn \
      --exec-opt native.cgroupdriver=cgroupfs --cgroup-parent "/berth-${bed##*/}/$1"
    until answers "$1"; do
      [ "$SECONDS" -lt "$deadline" ] || { tail -n 20 "$dir/dockerd.log" >&2; die "the engine of $1 did not answer within $wait_seconds seconds"; }
      sleep 0.1
    done
  fi
  [ "$fresh" = no ] || load "$1"
}

# here_of the images: as "mysql:9.7" the public one, or Berth's stand-in for it.
here_of() {
  local ref name
  for ref in "$@"; do
    for name in "$ref" "berth/$ref"; do
      if docker --host "$shared" image inspect "$name" >/dev/null 2>&1; then printf '%s\n' "$name"; break; fi
    done
  done
}

load() { [ ! -s "$bed/images.tar" ] || on "$1" load --quiet --input "$bed/images.tar" >/dev/null; }

kill_dockerd() {
  local dir=$bed/$1 pid
  testbed_alive "$dir" || return 0
  pid=$(cat "$dir/docker.pid" 2>/dev/null) || return 0
  # shellcheck disable=SC2016
  testbed_in "$dir" sh -c 'kill -KILL "$1" && while kill -0 "$1"; do sleep 0.05; done' kill "$pid" 2>/dev/null || true
}

up() {
  local n=$1 host present=() jobs=() failed=0
  [[ $n =~ ^[1-9][0-9]?$ ]] || die "a fleet has 1 to 99 hosts"
  "$here/engine.sh"
  mkdir -p "$bed"
  [ -z "${BERTH_FLEET_OWNER:-}" ] || testbed_own "$BERTH_FLEET_OWNER"
  testbed_network
  if [ ! -e "$bed/images.tar" ] && [ "${#images[@]}" -gt 0 ]; then
    mapfile -t present < <(here_of "${images[@]}")
    [ "${#present[@]}" -gt 0 ] || die "none of the images ${images[*]} is here; run scripts/images.sh"
    timeout "$wait_seconds" docker --host "$shared" save --output "$bed/images.tar" "${present[@]}"
  fi
  for ((host = 1; host <= n; host++)); do start "h$host" & jobs+=($!); done
  for host in "${jobs[@]}"; do wait "$host" || failed=1; done
  [ "$failed" = 0 ] || die "not all hosts are up"
  for ((host = 1; host <= n; host++)); do
    printf 'h%d tcp://%s:2375 %s %s\n' "$host" "$(address_of "h$host")" "$(address_of "h$host")" "$bed/h$host"
  done
}

case "${1:-} $#" in
  'up 2' | 'kill 2' | 'off 2' | 'start 2' | 'down 1') ;;
  *) die 'usage: fleet.sh up N | kill HOST | off HOST | start HOST | down' ;;
esac
testbed_need
testbed_open "${BERTH_FLEET:-dev}"
if [ "${1:-}" != up ] && [ "${1:-}" != down ]; then
  subnet=$(cat "$bed/subnet" 2>/dev/null) || die "the fleet ${bed##*/} is not up"
fi
case $1 in
  up) up "$2" ;;
  kill) kill_dockerd "$2" ;;
  off) testbed_end "$bed/$2" ;;
  start) [ -d "$bed/$2" ] || die "there is no host $2"; start "$2" ;;
  down) testbed_close ;;
esac
