#!/usr/bin/env bash
# env.sh: write the .env that docker-compose.yml needs, with fresh secrets, unless there is one.
#
# Usage: scripts/env.sh [FILE]          (default: .env beside docker-compose.yml)
#
# It owns nothing but the file it writes (mode 0600), and never changes one that is there. Values come from
# .env.example; each CHANGE_ME becomes a secret of its own; a setting of the same name in the environment
# wins over the example. Where only Berth's stand-in of an image is here, the stand-in is named.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=scripts/apt.sh
. "$here/apt.sh"

file=${1:-$here/../.env}

# 40 letters and digits: 200 bits and more, and no character that an address or a shell would mind.
word() {
  local text=''
  while [ "${#text}" -lt 40 ]; do
    text+=$(head -c 64 /dev/urandom | base64 | tr -dc 'a-zA-Z0-9')
  done
  printf '%s' "${text:0:40}"
}

# 32 bytes in base64; one that begins like a path would be taken for the name of a file.
key() {
  local text=/
  while [ "${text:0:1}" = / ]; do text=$(head -c 32 /dev/urandom | base64); done
  printf '%s' "$text"
}

# The public image, unless only the stand-in is here.
image() {
  export DOCKER_HOST=${BERTH_DOCKER_HOST:-${DOCKER_HOST:-unix:///var/run/docker.sock}}
  if command -v docker >/dev/null 2>&1 && ! docker image inspect "$1" >/dev/null 2>&1 &&
    docker image inspect "berth/$1" >/dev/null 2>&1; then
    printf 'berth/%s' "$1"
  else
    printf '%s' "$1"
  fi
}

main() {
  local line name value draft
  if [ -e "$file" ]; then
    say "$file is there already; left as it is"
    return 0
  fi
  umask 077
  draft=$(mktemp "$file.XXXXXX")
  # shellcheck disable=SC2064
  trap "rm -f '$draft'" EXIT
  while IFS= read -r line || [ -n "$line" ]; do
    if [[ $line =~ ^([A-Z_]+)=(.*)$ ]]; then
      name=${BASH_REMATCH[1]} value=${BASH_REMATCH[2]}
      if [ -n "${!name:-}" ]; then
        value=${!name}
      elif [ "$name" = BERTH_MASTER_KEY ]; then
        value=$(key)
      elif [ "$value" = CHANGE_ME ]; then
        value=$(word)
      elif [[ $name == BERTH_COMPOSE_*_IMAGE ]]; then
        value=$(image "$value")
      fi
      line="$name=$value"
    fi
    printf '%s\n' "$line"
  done <"$here/../.env.example" >"$draft"
  # A link, not a rename: of two runs at once the first wins and the second leaves its file alone.
  if ln "$draft" "$file" 2>/dev/null; then
    say "wrote $file with fresh secrets; keep a copy in a safe place"
  else
    [ -e "$file" ] || die "$file could not be written"
    say "$file is there already; left as it is"
  fi
}

main
