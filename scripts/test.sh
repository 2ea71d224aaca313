#!/usr/bin/env bash
# test.sh: run all tests. `make test` does so, after it has set up what they need.
#
# Usage: make setup build && scripts/test.sh [PART …]     (default: all parts but fast, in this order)
#
#   fast      what needs no Docker engine, MySQL, Redis, browser or root; `make test-fast` runs it
#   quick     every package that leaves the machine room for others, side by side, with the race detector
#   NAME      internal/NAME, one of those that keep the Docker engine or all cores busy, with the race detector where
#             they have anything for it to watch
#   newer     what Berth needs of a Docker engine, in short, on a newer one than most machines have
#   chaos     internal/chaos; Berth's processes are what works there, so it does without the race detector
#   image     deployments/Dockerfile, built and run
#   compose   docker-compose.yml for real
#
# Busy parts run one after the other. Tests multiply their bounds of time by the machine's pace, which is
# measured first. All parts run, also after one has failed; a table in the end says how each ended.
# Settings: BERTH_BIN (bin/berth), BERTH_TEST_PACE (measured).
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=scripts/apt.sh
. "$here/apt.sh"
cd "$here/.."

busy=(docker docker/swarm engine smoke clients fleet)
# Packages whose tests all work on real servers or processes. In the others testenv.Needs leaves out, with
# -short, the tests that do.
real=(smoke clients chaos fleet startstop testenv)
default_parts=(quick "${busy[@]}" newer chaos image compose)
export BERTH_BIN=${BERTH_BIN:-$PWD/bin/berth}

# SQLite's C code, translated to Go, is left as it is: it has nothing to find there, and takes five times as
# long with the detector and its checks of pointers. No package that is written in Go may be: of a generic type
# that it shares with others, such as those below sync.Map, its unwatched copy may be linked for all.
with_race() { CGO_ENABLED=1 go test -race '-gcflags=modernc.org/sqlite/lib=-race=false -d=checkptr=0' -count=1 -parallel 4 -timeout 30m "$@"; }

packages_without() {
  local pattern
  pattern=$(IFS='|'; printf '%s' "$*")
  go list ./... | grep -vE "/internal/($pattern)\$"
}

# Many of these wait most of the time, too.
# shellcheck disable=SC2046
fast() { CGO_ENABLED=0 go test -short -p 4 -timeout 10m $(packages_without "${real[@]}"); }

quick() {
  # Many of them wait most of the time, for servers that start and stop or for a disk.
  # shellcheck disable=SC2046
  with_race -p 3 $(packages_without "${busy[@]}" chaos)
}

run_part() {
  case $1 in
    fast) fast ;;
    quick) quick ;;
    chaos) CGO_ENABLED=0 go test -count=1 -parallel 3 -timeout 30m ./internal/chaos ;;
    # What works there are Berth's processes, built without the detector, and other people's servers.
    smoke | clients | fleet) CGO_ENABLED=0 go test -count=1 -parallel 4 -timeout 30m "./internal/$1" ;;
    newer) scripts/second-engine.sh sid scripts/engine-checks.sh short ;;
    image) scripts/image-test.sh ;;
    compose) scripts/compose-test.sh ;;
    *) with_race "./internal/$1" ;;
  esac
}

main() {
  local parts=("$@") part started failed=0 table='' result
  [ $# -gt 0 ] || parts=("${default_parts[@]}")
  [ "${parts[*]}" != fast ] || export BERTH_TEST_PACE=${BERTH_TEST_PACE:-4} # measuring takes a Docker engine
  if [ -z "${BERTH_TEST_PACE:-}" ]; then
    BERTH_TEST_PACE=$(go run ./internal/testenv/pace)
    export BERTH_TEST_PACE
  fi
  say "bounds of time are $BERTH_TEST_PACE times those of a quiet machine"
  for part in "${parts[@]}"; do
    started=$SECONDS result=passed
    run_part "$part" || { result=FAILED; failed=1; }
    table+=$(printf '%-12s  %s  %4d s' "$part" "$result" $((SECONDS - started)))$'\n'
  done
  printf '%s' "$table"
  return "$failed"
}

main "$@"
