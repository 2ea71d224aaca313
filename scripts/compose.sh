#!/usr/bin/env bash
# compose.sh: run the compose client that is there, with Berth's compose file.
#
# Usage: scripts/compose.sh ARGUMENT…     as of `docker compose`, for example: scripts/compose.sh ps
#
# Takes `docker compose`, else `docker-compose`, else installs the latter as root on Debian or Ubuntu.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=scripts/apt.sh
. "$here/apt.sh"

client=()
find_client() {
  if docker compose version >/dev/null 2>&1; then client=(docker compose)
  elif command -v docker-compose >/dev/null 2>&1; then client=(docker-compose)
  else return 1; fi
}

if ! find_client; then
  can_apt || die "docker compose is missing: install the compose plugin, or docker-compose (Debian, Ubuntu)"
  say "installing docker-compose"
  apt_install docker-compose
  find_client || die "docker-compose was installed but does not run"
fi
exec "${client[@]}" --project-directory "$here/.." -f "$here/../docker-compose.yml" "$@"
