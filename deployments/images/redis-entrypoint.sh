#!/bin/sh
# Entrypoint of Berth's stand-in for the public redis image. Like the original it gives options
# and configuration files to redis-server, leaves root for the user redis, and lets clients of
# other addresses in (who may come in is the business of the published port and of requirepass).
set -eu

case ${1:-} in
  ''|-*|*.conf) set -- redis-server "$@" ;;
esac

if [ "$1" = redis-server ]; then
  if [ "$(id -u)" = 0 ]; then
    find . \! -user redis -exec chown redis:redis '{}' + 2>/dev/null || true
    exec setpriv --reuid=redis --regid=redis --clear-groups -- "$0" "$@"
  fi

  # A word about protected-mode, in the arguments or in the file, is the caller's last word.
  said=no
  for word in "$@"; do [ "$word" != --protected-mode ] || said=yes; done
  case ${2:-} in
    ''|-*) ;;
    *) grep -qiE '^[[:space:]]*protected-mode[[:space:]]' "$2" 2>/dev/null && said=yes ;;
  esac
  [ "$said" = yes ] || set -- "$@" --protected-mode no

  [ "$(umask)" != 0022 ] || umask 0077
fi

exec "$@"
