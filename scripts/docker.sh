#!/usr/bin/env bash
# docker.sh: make sure that a Docker engine answers.
#
# Usage: scripts/docker.sh
#
# It looks at BERTH_DOCKER_HOST, else DOCKER_HOST, else /var/run/docker.sock. When an engine
# answers there it says nothing and exits 0. When none answers and we are root on Debian or
# Ubuntu it installs the distribution's engine (unless dockerd is there), starts it in the
# background and waits for it. Elsewhere it says in one line what is missing, and exits 1.
#
# It owns the engine it started only until that answers: the engine then runs on by itself.
# Settings: BERTH_DOCKERD_LOG (/var/log/berth-dockerd.log), BERTH_DOCKERD_WAIT (seconds, 60).
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=scripts/apt.sh
. "$here/apt.sh"

default_host=unix:///var/run/docker.sock
host=${BERTH_DOCKER_HOST:-${DOCKER_HOST:-$default_host}}
log=${BERTH_DOCKERD_LOG:-/var/log/berth-dockerd.log}
wait_seconds=${BERTH_DOCKERD_WAIT:-60}

# One ping, by whatever this machine has: curl, else perl (part of every Debian), else the docker client.
ping_unix() {
  local socket=$1
  [ -S "$socket" ] || return 1
  if command -v curl >/dev/null 2>&1; then
    [ "$(curl -s --noproxy '*' --max-time 5 --unix-socket "$socket" http://docker/_ping 2>/dev/null)" = OK ]
  elif command -v perl >/dev/null 2>&1 && perl -MIO::Socket::UNIX -e1 2>/dev/null; then
    perl -MIO::Socket::UNIX -e '
      alarm 5;
      my $s = IO::Socket::UNIX->new(Type => SOCK_STREAM, Peer => shift) or exit 1;
      print $s "GET /_ping HTTP/1.0\r\nHost: docker\r\n\r\n"; $s->flush;
      exit((<$s> // "") =~ m{^HTTP/1\.\d 200} ? 0 : 1);' "$socket" 2>/dev/null
  else
    ping_client "unix://$socket"
  fi
}

ping_tcp() {
  if command -v curl >/dev/null 2>&1; then
    [ "$(curl -s --noproxy '*' --max-time 5 "http://$1/_ping" 2>/dev/null)" = OK ] || ping_client "tcp://$1"
  else
    ping_client "tcp://$1"
  fi
}

# For what only Docker's own client speaks: TLS, ssh.
ping_client() {
  command -v docker >/dev/null 2>&1 &&
    timeout 10 docker -H "$1" version --format '{{.Server.Version}}' >/dev/null 2>&1
}

answers() {
  case $host in
    unix://*) ping_unix "${host#unix://}" ;;
    tcp://*) ping_tcp "${host#tcp://}" ;;
    *) ping_client "$host" ;;
  esac
}

wait_for_answer() {
  local deadline=$((SECONDS + $1))
  until answers; do
    [ "$SECONDS" -lt "$deadline" ] || return 1
    sleep 0.2
  done
}

# The process id of a dockerd that runs on this machine; nothing when there is none.
running_dockerd() {
  local pid
  pid=$(cat /var/run/docker.pid 2>/dev/null) || return 0
  [ "$(cat "/proc/$pid/comm" 2>/dev/null)" = dockerd ] && printf '%s\n' "$pid"
  return 0
}

install_engine() {
  local packages=(docker.io iptables)
  say "no Docker engine answers at $host; installing docker.io and iptables"
  apt_lists
  # Where the distribution packs the client by itself, bring it too.
  if ! command -v docker >/dev/null 2>&1 && apt_has docker-cli; then packages+=(docker-cli); fi
  apt_install "${packages[@]}" || die "docker.io could not be installed; see apt's words above"
}

start_engine() {
  if [ -d /run/systemd/system ] && systemctl cat docker.service >/dev/null 2>&1; then
    say "starting the Docker engine (systemctl start docker)"
    systemctl start docker || true
    return
  fi
  # One that is just starting, by somebody else or by the package's own script, is good enough.
  if [ -n "$(running_dockerd)" ]; then
    say "dockerd is there (process $(running_dockerd)); waiting for it to answer"
    return
  fi
  # A pid file without its dockerd makes a new dockerd refuse when the number is in use again.
  rm -f /var/run/docker.pid
  say "starting dockerd in the background, log in $log"
  mkdir -p "$(dirname "$log")"
  printf -- '--- started by Berth, %s\n' "$(date -u +%FT%TZ)" >>"$log"
  (
    # Nothing of ours stays open in it: not our lock, not make's job server, not a test's pipe.
    exec </dev/null >>"$log" 2>&1
    for fd in /proc/self/fd/*; do
      fd=${fd##*/}
      [ "$fd" -le 2 ] || eval "exec $fd>&-" 2>/dev/null || true
    done
    cd /
    exec setsid nohup dockerd
  ) &
  disown
}

main() {
  answers && return 0

  if [ "$host" != "$default_host" ] && [ "$host" != unix:///run/docker.sock ]; then
    die "no Docker engine answers at $host; start it, or unset BERTH_DOCKER_HOST and DOCKER_HOST to use the local one"
  fi
  if ! can_apt && [ "$(id -u)" != 0 ]; then
    if [ -S "${host#unix://}" ] && [ ! -w "${host#unix://}" ]; then
      die "a Docker engine is here but this user may not use it: add the user to the group docker and log in again"
    fi
    die "no Docker engine answers at $host: start one, or install one (on Debian and Ubuntu: apt-get install docker.io)"
  fi

  # Whoever comes second waits here and then finds the engine answering.
  exec 9>"$(berth_lock_dir)/docker.lock"
  flock -w 600 9 || die "another docker.sh has been at work for ten minutes; giving up"
  answers && return 0

  if ! command -v dockerd >/dev/null 2>&1; then
    can_apt || die "no Docker engine answers at $host and dockerd is not installed: install Docker Engine and run this again"
    install_engine
  fi
  start_engine
  if wait_for_answer "$wait_seconds"; then
    say "the Docker engine answers at $host"
    return 0
  fi
  if [ -f "$log" ]; then
    say "the last lines of $log:"
    tail -n 20 "$log" >&2
  fi
  die "the Docker engine did not answer within $wait_seconds seconds"
}

main
