# The image's own entrypoint, which would load its modules, is not run: it has other ideas of
# users and files. What it would skip is skipped here, too.
set -e
ulimit -n 65536 2>/dev/null || : # or fewer, where the engine allows no more
[ -d /data/db ] || mkdir /data/db
set --
for module in /usr/local/lib/redis/modules/*.so; do
  [ -f "$module" ] && [ -s "$module" ] && [ -r "$module" ] && [ -x "$module" ] || continue
  set -- "$@" --loadmodule "$module"
  # FT._LIST counts as administration, which tenants may not do, but it only looks, and clients
  # need it. Rules may name no command that the server does not have.
  case $module in
    */redisearch.so) ! LC_ALL=C grep -q 'FT\._LIST' "$module" || search=1 ;;
  esac
done
if [ "${search:-}" ]; then
  umask 077
  # The tenant's line is the first.
  { read -r users && printf '%s\n' "$users +ft._list" && cat; } </data/conf/users.acl >/data/conf/users-search.acl
  umask 022
  set -- --aclfile /data/conf/users-search.acl "$@"
fi
exec redis-server /data/conf/redis.conf "$@"
