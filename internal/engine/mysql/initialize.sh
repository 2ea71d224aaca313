#!/bin/sh
# Makes an empty data directory of MySQL, as it is before anybody's first start: the
# system's tables with what seed.sql has for them, and root without a password. Nothing in
# it is one instance's own: no server id and no key; mysqld makes those that it does not
# find. What an instance may choose (charset, sizes, binary log) has no part in it.
#
# The directory gets its name when it is whole and on the disk. What a crash left half
# made is thrown away, so it need not be safe from one.
set -eu
umask 0077

data=$1
unfinished=$data.unfinished
seed=${0%/*}/seed.sql

rm -rf "$unfinished"
set --
[ ! -f "$seed" ] || set -- --init-file="$seed"
# It is a child, so that a stop does not have to wait for its end.
mysqld --no-defaults --datadir="$unfinished" --tmpdir="${TMPDIR:-/tmp}" --initialize-insecure "$@" \
  --disable-log-bin --performance-schema=OFF --innodb-doublewrite=OFF --innodb-redo-log-capacity=32M \
  --innodb-flush-log-at-trx-commit=0 --innodb-use-native-aio=OFF \
  --auto-generate-certs=OFF --caching-sha2-password-auto-generate-rsa-keys=OFF \
  --loose-sha256-password-auto-generate-rsa-keys=OFF &
child=$!
trap 'kill -KILL "$child" 2>/dev/null; exit 143' TERM INT
wait "$child"
trap - TERM INT
# The redo files that wait to be used are made anew where they are missing.
rm -f "$unfinished"/auto.cnf "$unfinished"/*.pem "$unfinished"/#innodb_redo/*_tmp
sync "$unfinished"/* "$unfinished"
mv "$unfinished" "$data"
sync "${data%/*}"
