#!/usr/bin/env bash
# image-berth.sh: build Berth's own image from a binary made outside, with no registry and no builder.
#
# Usage: CGO_ENABLED=0 go build -o bin/berth ./cmd/berth && scripts/image-berth.sh [BINARY]
#
# The image is what deployments/Dockerfile makes: nothing but the static binary, the CA bundle
# and an empty /tmp. It owns the image's name and its temporary folder while it runs.
# Settings: BERTH_IMAGE (berth/berth:dev), VERSION (dev), BERTH_CA_BUNDLE (this system's).
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=scripts/apt.sh
. "$here/apt.sh"

binary=${1:-$here/../bin/berth}
image=${BERTH_IMAGE:-berth/berth:dev}
version=${VERSION:-dev}

ca_bundle() {
  local file
  for file in "${BERTH_CA_BUNDLE:-}" /etc/ssl/certs/ca-certificates.crt /etc/pki/tls/certs/ca-bundle.crt \
    /etc/ssl/ca-bundle.pem /etc/ssl/cert.pem; do
    if [ -n "$file" ] && [ -r "$file" ]; then printf '%s\n' "$file"; return; fi
  done
  die "this system has no CA bundle: install ca-certificates, or name one by BERTH_CA_BUNDLE"
}

# An ELF file that names an interpreter needs libraries, which a scratch image does not have.
check_binary() {
  [ -f "$binary" ] || die "$binary is missing: build it with CGO_ENABLED=0 go build -o bin/berth ./cmd/berth"
  [ "$(head -c 4 "$binary" | tail -c 3)" = ELF ] || die "$binary is no Linux program: build it with GOOS=linux"
  if head -c 4096 "$binary" | grep -aqE '/ld-(linux|musl)'; then
    die "$binary needs shared libraries: build it with CGO_ENABLED=0"
  fi
}

main() {
  local bundle
  check_binary
  bundle=$(ca_bundle)
  export DOCKER_HOST=${BERTH_DOCKER_HOST:-${DOCKER_HOST:-unix:///var/run/docker.sock}}
  "$here/docker.sh"
  command -v docker >/dev/null 2>&1 || die "the docker client is missing: install it (on Debian and Ubuntu: apt-get install docker-cli or docker.io)"

  work=$(mktemp -d "${TMPDIR:-/tmp}/berth-image.XXXXXX")
  trap 'rm -rf "$work"' EXIT
  mkdir -p "$work/root/etc/ssl/certs"
  mkdir -m 1777 "$work/root/tmp"
  chmod 0755 "$work/root"
  install -m 0755 "$binary" "$work/root/berth"
  install -m 0644 "$bundle" "$work/root/etc/ssl/certs/ca-certificates.crt"
  tar -C "$work/root" --numeric-owner --owner=0 --group=0 --sort=name -cf "$work/berth.tar" .

  docker import -m "Berth $version" \
    -c 'ENTRYPOINT ["/berth"]' \
    -c 'CMD ["--help"]' \
    -c 'EXPOSE 8080' \
    -c 'LABEL org.opencontainers.image.title="Berth"' \
    -c 'LABEL org.opencontainers.image.licenses="Apache-2.0"' \
    -c "LABEL org.opencontainers.image.version=\"$version\"" \
    "$work/berth.tar" "$image" >/dev/null || die "docker import of $image failed"
  say "built $image, $(($(docker image inspect --format '{{.Size}}' "$image") / 1000000)) MB"
}

main
