#!/usr/bin/env bash
# image-test.sh: build deployments/Dockerfile, and see that what it makes says its version.
#
# Usage: scripts/image-test.sh
#
# Where no registry answers there is no golang image. The build stage then stands on an image of this
# machine's own Go, with the modules that Berth needs, upon Berth's stand-in for redis:8, which has a
# shell. It owns the images berth-test/image-* and its temporary folder while it runs.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=scripts/apt.sh
. "$here/apt.sh"
cd "$here/.."

limit=1200 # seconds that one build may take
version=v0.0.0-image-test
tag=$$-$RANDOM
work=$(mktemp -d "${TMPDIR:-/tmp}/berth-image-test.XXXXXX")
clean_up() {
  trap - EXIT
  docker image rm -f "berth-test/image-berth:$tag" "berth-test/image-go:$tag" >/dev/null 2>&1 || true
  # The build stage leaves images without a name.
  docker image prune -f --filter "label=berth.image-test=$tag" >/dev/null 2>&1 || true
  chmod -R u+w "$work" 2>/dev/null || true
  rm -rf "$work"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

export DOCKER_HOST=${BERTH_DOCKER_HOST:-${DOCKER_HOST:-unix:///var/run/docker.sock}}
"$here/docker.sh"
"$here/images.sh" redis:8
base=redis:8
docker image inspect "$base" >/dev/null 2>&1 || base=berth/redis:8

build() {
  timeout -k 10 "$limit" docker build --force-rm --tag "$1" "${@:2}" >"$work/log" 2>&1 || { tail -n 20 "$work/log" >&2; die "docker build of $1 failed"; }
}

# The machine's Go, and its modules as a proxy that is a folder: of some only go.mod is asked for.
goroot=$(go env GOROOT)
cache=$(go env GOMODCACHE)/cache/download
mkdir "$work/context"
go mod download -json | sed -n 's/^\t"Zip": "\(.*\)",\{0,1\}$/\1/p' | sed "s,^$cache/,./," >"$work/modules"
(cd "$cache" && find . -name '*.mod' -o -name '*.info') >>"$work/modules" # also of those that were not here before
# What it has compiled already need not be compiled again: each package's entry in its cache, which begins
# with the package's build id, and what that entry stands for. One that is not found is compiled.
compiled=$(go env GOCACHE)
(
  cd "$compiled"
  shopt -s nullglob
  CGO_ENABLED=0 go -C "$here/.." list -deps -export -trimpath -f '{{with .Export}}{{$.BuildID}} {{.}}{{end}}' ./cmd/berth | while read -r build_id file; do
    action=$(printf '%s' "${build_id%%/*}" | basenc --base64url -d | od -An -tx1 | tr -d ' \n')
    printf './%s\n' "${action:0:2}/$action"*-a "${file#"$compiled/"}"
  done
) >"$work/packages"
cp /etc/ssl/certs/ca-certificates.crt "$work/context/"
cat >"$work/context/Dockerfile" <<END
FROM $base
LABEL berth.image-test=$tag
USER 0
ENTRYPOINT []
COPY go /usr/local/go
COPY modules /modules
COPY packages /packages
COPY ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
ENV PATH=/usr/local/go/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin GOTOOLCHAIN=local GOCACHE=/packages GOPROXY=file:///modules GOSUMDB=off
END
tar -C "$goroot" --transform 's,^,go/,' --exclude=testdata --exclude='*_test.go' -cf "$work/go.tar" bin src pkg lib VERSION go.env
tar -C "$cache" --hard-dereference --transform 's,^\.,modules,' -T "$work/modules" -rf "$work/go.tar"
tar -C "$compiled" --hard-dereference --transform 's,^\.,packages,' -T "$work/packages" -rf "$work/go.tar"
tar -C "$work/context" -rf "$work/go.tar" Dockerfile ca-certificates.crt
started=$SECONDS
build "berth-test/image-go:$tag" - <"$work/go.tar"
rm -f "$work/go.tar"
build "berth-test/image-berth:$tag" --file deployments/Dockerfile --build-arg "GO_IMAGE=berth-test/image-go:$tag" --build-arg "VERSION=$version" .

said=$(docker run --rm --read-only --user 65532:65532 --network none "berth-test/image-berth:$tag" --version)
case $said in
  *"$version"*) ;;
  *) die "what deployments/Dockerfile makes says '$said', not $version" ;;
esac
labeled=$(docker image inspect --format '{{index .Config.Labels "org.opencontainers.image.version"}}' "berth-test/image-berth:$tag")
[ "$labeled" = "$version" ] || die "the image's label says '$labeled', not $version"
say "ok: deployments/Dockerfile, built in $((SECONDS - started)) s, says $said"
