#!/bin/bash
# Entrypoint of Berth's stand-in for the public redis image. Like the original it gives options
# and configuration files to redis-server, leaves root for the user redis, appends each module
# of the image as an argument, and lets clients of other addresses in (who may come in is the
# business of the published port and of requirepass).
set -eu
modules=/usr/local/lib/redis/modules

case ${1:-} in
  ''|-*|*.conf) set -- redis-server "$@" ;;
esac

if [ "$1" = redis-server ]; then
  if [ "$(id -u)" = 0 ]; then
    find . \! -user redis -exec chown redis:redis '{}' + 2>/dev/null || true
    exec setpriv --reuid=redis --regid=redis --clear-groups -- "$0" "$@"
  fi

  [ "$(umask)" != 0022 ] || umask 0077

  # A word about protected-mode, in the arguments or in the file, is the caller's last word.
  protected=no sentinel=no
  for word in "$@"; do
    case $word in
      --protected-mode) protected=said ;;
      --sentinel) sentinel=yes ;;
    esac
  done
  case ${2:-} in
    ''|-*) ;;
    *) ! grep -qiE '^[[:space:]]*protected-mode[[:space:]]' "$2" 2>/dev/null || protected=said ;;
  esac
  # The original's default is compiled in: it needs no argument, which could be the last one.
  if [ "$protected" = no ] && [ $# = 1 ]; then set -- "$@" --protected-mode no
  elif [ "$protected" = no ]; then
    case $2 in
      --*) set -- "$1" --protected-mode no "${@:2}" ;;
      *) set -- "$1" "$2" --protected-mode no "${@:3}" ;;
    esac
  fi

  if [ "$sentinel" = no ]; then
    for module in "$modules"/*.so; do
      [ -f "$module" ] && [ -s "$module" ] && [ -r "$module" ] && [ -x "$module" ] || continue
      set -- "$@" --loadmodule "$module"
    done
  fi
fi

exec "$@"
