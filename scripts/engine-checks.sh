#!/usr/bin/env bash
# engine-checks.sh: what Berth needs of a Docker engine, checked on the one that BERTH_DOCKER_HOST names.
#
# Usage: scripts/engine-checks.sh short|whole
#
# short: the runtime contract where engines differ (files, adoption, golden data, ports, ends, errors), Redis
# with its modules, and the whole way of a MySQL and a Redis: cold, from the warm pool, on images of the
# operator's own. whole: all tests of the engine's adapter, of both servers and of the product, and the
# compose project. A table in the end says how each ended.
# Settings: BERTH_BIN (bin/berth), BERTH_TEST_PACE (measured).
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=scripts/apt.sh
. "$here/apt.sh"
cd "$here/.."
export BERTH_BIN=${BERTH_BIN:-$PWD/bin/berth}
export DOCKER_HOST=${BERTH_DOCKER_HOST:-${DOCKER_HOST:-unix:///var/run/docker.sock}}
export BERTH_DOCKER_HOST=$DOCKER_HOST

contract='RuntimeContract|DataFolderOfAnyImage|FillerLeft|RootOfDataPath|Hardened|Inside|PortOfAnotherProcess|Handover|CannotStart'
contract+='|GoldenMark|GoldenTidied|GoldenOnceForTheHost|GoldenCutOff|WatchMissesNothing'

tests() { CGO_ENABLED=0 GOPROXY=off go test -count=1 -parallel 4 -timeout 30m "$@"; }

check() {
  case $1 in
    contract) tests -run "^Test($contract)\$" ./internal/docker ;;
    modules) tests -run '^TestRedisOnDocker$' ./internal/engine ;;
    product) tests -run '^Test(Smoke|WarmPool|CustomImages)$' ./internal/smoke ;;
    compose) scripts/compose-test.sh ;;
    bare) BERTH_COMPOSE_TEST_PARTS=backing BERTH_COMPOSE_TEST_BARE=yes scripts/compose-test.sh ;; # images without volumes
    *) tests "./internal/$1" ;;
  esac
}

case ${1:-} in
  short) checks=(contract modules product) ;;
  whole) checks=(docker engine smoke compose bare) ;;
  *) die "usage: engine-checks.sh short|whole" ;;
esac
[ -x "$BERTH_BIN" ] || die "$BERTH_BIN is missing: run make build"
version=$(docker version --format '{{.Server.Version}}') || die "no Docker engine answers at $DOCKER_HOST"
if [ -z "${BERTH_TEST_PACE:-}" ]; then
  BERTH_TEST_PACE=$(GOPROXY=off go run ./internal/testenv/pace)
  export BERTH_TEST_PACE
fi
failed=0 table=''
for check in "${checks[@]}"; do
  started=$SECONDS result=passed
  check "$check" || { result=FAILED; failed=1; }
  table+=$(printf 'Docker %-16s  %-8s  %s  %4d s' "$version" "$check" "$result" $((SECONDS - started)))$'\n'
done
printf '%s' "$table"
exit "$failed"
