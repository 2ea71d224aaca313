#!/usr/bin/env bash
# fleet.sh: several Docker engines on one machine, as if each were on a host of its own.
#
# Usage: scripts/fleet.sh up N          N hosts h1 … hN; prints a line for each: name, endpoint, address, folder
#        scripts/fleet.sh kill HOST     its dockerd ends as in a crash; its containers run on
#        scripts/fleet.sh off HOST      all of it ends as in a power cut
#        scripts/fleet.sh start HOST    back after both
#        scripts/fleet.sh signal HOST PROGRAM SIGNAL
#                                       a signal to its dockerd, to its sshd, or to the logins that the sshd has
#        scripts/fleet.sh link HOST up|down
#                                       its network: what is sent to it while that is down is lost
#        scripts/fleet.sh down          all of them go, with everything that they have
#
# Each engine has network, host name, processes, folders and id of its own, and is reached from this
# machine at tcp://ADDRESS:2375, its containers' ports at ADDRESS. The hosts reach each other and
# nothing else. FOLDER/volumes is the folder /run/volumes of the host. They have the images that this machine's engine has. Whatever is there already stays.
# As root on Debian or Ubuntu it installs what is missing; elsewhere it says in one line what that is.
#
# Settings: BERTH_FLEET (dev), the name of the fleet; BERTH_FLEET_IMAGES (mysql:9.7 redis:8);
# BERTH_FLEET_ENGINE, the beginning of each daemon.json ('"icc": false,'); BERTH_FLEET_DATA, the size of a
# file system in memory for the data of each engine ("256m"; else this machine's); BERTH_FLEET_SSHD=yes, an
# sshd on each host, for root with the password in FOLDER/password; BERTH_FLEET_OWNER, a process with which
# the fleet may go; BERTH_FLEET_WAIT (seconds, 120).
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=scripts/apt.sh
. "$here/apt.sh"
# shellcheck source=scripts/testbed.sh
. "$here/testbed.sh"

read -r -a images <<<"${BERTH_FLEET_IMAGES-mysql:9.7 redis:8}"
wait_seconds=${BERTH_FLEET_WAIT:-120}
sshd=${BERTH_FLEET_SSHD:-}
shared=${BERTH_DOCKER_HOST:-${DOCKER_HOST:-unix:///var/run/docker.sock}}

number_of() { [[ $1 =~ ^h([1-9][0-9]?)$ ]] || die "there is no host $1"; printf '%s\n' "${BASH_REMATCH[1]}"; }
address_of() { printf '%s.%s\n' "$subnet" $((10 + $(number_of "$1"))); }
on() { timeout "$wait_seconds" docker --host "tcp://$(address_of "$1"):2375" "${@:2}"; }
answers() { timeout 5 docker --host "tcp://$(address_of "$1"):2375" version --format '{{.Server.Version}}' >/dev/null 2>&1; }

# A host with an sshd has its own /etc and /root, so that a login changes nothing of this machine.
ssh_files='mkdir -p "$dir/etc" "$dir/etc-work"
mount -t overlay overlay -o "lowerdir=/etc,upperdir=$dir/etc,workdir=$dir/etc-work" /etc
mount -t tmpfs -o mode=0700 tmpfs /root
sed s/^/root:/ "$dir/password" | chpasswd
mkdir /run/sshd'

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
  if [ -n "$sshd" ]; then
    [ -e "$dir/password" ] || (umask 077 && head -c 15 /dev/urandom | base64 | tr '+/' 'xy' >"$dir/password")
    [ -e "$dir/host_key" ] || ssh-keygen -q -t ed25519 -N '' -C '' -f "$dir/host_key"
    printf '%s\n' "HostKey $dir/host_key" "PidFile $dir/sshd.pid" 'UsePAM no' 'PermitRootLogin yes' 'PasswordAuthentication yes' >"$dir/sshd_config"
  fi
  # What must be there before anything else of the host begins is done when its number is told.
  cat >"$dir/inside.sh" <<END
set -e
dir=$dir
hostname $1
${BERTH_FLEET_DATA:+mkdir -p $dir/data
mount -t tmpfs -o size=$BERTH_FLEET_DATA,mode=0711 tmpfs $dir/data}
mount -t tmpfs tmpfs /run
mkdir -p "$dir/volumes" /run/volumes
mount --bind "$dir/volumes" /run/volumes
${sshd:+$ssh_files}
$testbed_pid
mount -t proc proc /proc
set +e
while :; do sleep 3600 & wait \$!; done
END
}

# in_background HOST LOG COMMAND…: a program of the host that outlives this script. Its parent is the host's
# first process: a nsenter would stop with it, and not see its end then.
in_background() {
  local dir=$bed/$1 log=$bed/$1/$2
  shift 2
  (
    for name in $(compgen -e | grep -E '^(BERTH_|DOCKER_)' || true); do unset "$name"; done
    # With it, a swarm takes the images that a node has for good.
    export DOCKER_SERVICE_PREFER_OFFLINE_IMAGE=1
    cd "$dir"
    # shellcheck disable=SC2016
    exec setsid nsenter --target "$(cat "$dir/pid")" --net --mount --uts --ipc --pid -- sh -c '"$@" &' background "$@" >>"$log" 2>&1 </dev/null 7>&- 8>&- 9>&-
  ) &
}

start() {
  local dir=$bed/$1 deadline=$((SECONDS + wait_seconds)) fresh=no listen
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
    listen=(--host "tcp://$(address_of "$1"):2375")
    [ ! -e "$dir/sshd_config" ] || listen+=(--host unix:///run/docker.sock)
    in_background "$1" dockerd.log dockerd "${listen[@]}" --containerd "$dir/containerd.sock" --pidfile "$dir/docker.pid" \
      --data-root "$dir/data" --exec-root "$dir/exec" --config-file "$dir/daemon.json" --log-level warn \
      --exec-opt native.cgroupdriver=cgroupfs --cgroup-parent "/berth-${bed##*/}/$1"
    until answers "$1"; do
      [ "$SECONDS" -lt "$deadline" ] || { tail -n 20 "$dir/dockerd.log" >&2; die "the engine of $1 did not answer within $wait_seconds seconds"; }
      sleep 0.1
    done
  fi
  [ "$fresh" = no ] || load "$1"
  [ ! -e "$dir/sshd_config" ] || start_sshd "$1"
}

start_sshd() {
  local dir=$bed/$1 deadline=$((SECONDS + wait_seconds)) program
  # Absolute, because sshd demands it.
  program=$(PATH=$PATH:/usr/sbin:/usr/local/sbin command -v sshd) || die "sshd is missing; run scripts/sshd.sh"
  if pid_in "$dir" sshd.pid >/dev/null; then return 0; fi
  in_background "$1" sshd.log "$program" -D -e -f "$dir/sshd_config"
  until (exec 3<>"/dev/tcp/$(address_of "$1")/22") 2>/dev/null; do
    [ "$SECONDS" -lt "$deadline" ] || { tail -n 20 "$dir/sshd.log" >&2; die "the sshd of $1 does not take logins"; }
    sleep 0.1
  done
}

# pid_in DIR FILE: the number that a program of the host has there and has written to the file, while it runs.
pid_in() {
  local pid
  testbed_alive "$1" || return 1
  pid=$(cat "$1/$2" 2>/dev/null) && testbed_in "$1" kill -0 "$pid" 2>/dev/null && printf '%s\n' "$pid"
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

# signal_to HOST PROGRAM SIGNAL: what is ended is gone then. A program that does not run gets none.
signal_to() {
  local dir=$bed/$1 pid=''
  [[ $3 =~ ^[A-Z]+$ ]] || die "there is no signal $3"
  case $2 in
    dockerd) pid=$(pid_in "$dir" docker.pid) || return 0 ;;
    sshd) pid=$(pid_in "$dir" sshd.pid) || return 0 ;;
    logins) testbed_alive "$dir" || return 0; pid=$(pid_in "$dir" sshd.pid) || true ;;
    *) die "a host has dockerd, sshd and logins, not $2" ;;
  esac
  if [ "$2" = logins ]; then
    # shellcheck disable=SC2016
    testbed_in "$dir" sh -c 'for of in /proc/[0-9]*; do
      case $(cat "$of/comm" 2>/dev/null) in sshd*) [ "${of#/proc/}" = "$1" ] || kill "-$2" "${of#/proc/}" ;; esac
    done' logins "$pid" "$3" 2>/dev/null || true
    return 0
  fi
  # shellcheck disable=SC2016
  testbed_in "$dir" sh -c 'kill "-$2" "$1" && if [ "$2" = KILL ]; then while kill -0 "$1"; do sleep 0.05; done; fi' signal "$pid" "$3" 2>/dev/null || true
}

link() {
  [[ $2 =~ ^(up|down)$ ]] || die "a link is up or down, not $2"
  testbed_ip "$bed/network" link set "p$((10 + $(number_of "$1")))" "$2"
}

up() {
  local n=$1 host present=() jobs=() failed=0
  [[ $n =~ ^[1-9][0-9]?$ ]] || die "a fleet has 1 to 99 hosts"
  "$here/engine.sh"
  [ -z "$sshd" ] || "$here/sshd.sh"
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
  'up 2' | 'kill 2' | 'off 2' | 'start 2' | 'signal 4' | 'link 3' | 'down 1') ;;
  *) die 'usage: fleet.sh up N | kill HOST | off HOST | start HOST | signal HOST PROGRAM SIGNAL | link HOST up|down | down' ;;
esac
testbed_need
testbed_open "${BERTH_FLEET:-dev}"
if [ "${1:-}" != up ] && [ "${1:-}" != down ]; then
  subnet=$(cat "$bed/subnet" 2>/dev/null) || die "the fleet ${bed##*/} is not up"
fi
case $1 in
  up) up "$2" ;;
  kill) signal_to "$2" dockerd KILL ;;
  signal) signal_to "$2" "$3" "$4" ;;
  link) link "$2" "$3" ;;
  off) testbed_end "$bed/$2" ;;
  start) [ -d "$bed/$2" ] || die "there is no host $2"; start "$2" ;;
  down) testbed_close ;;
esac
