#!/bin/sh
# Starts the MySQL server of an instance. Only this volume is writable.
set -eu
umask 0077

home=/var/lib/mysql
config=$home/conf/my.cnf
data=$home/data
unfinished=$home/data.unfinished

rm -rf "$home/tmp"
mkdir "$home/tmp"

# A data directory under its own name is whole: it is made beside that place and gets
# the name when all of it is on the disk. What a crash left half made is thrown away.
if [ ! -d "$data" ]; then
  rm -rf "$unfinished"
  # Nothing of this is of use after a crash, so it need not be safe from one. It is
  # a child, so that a stop does not have to wait for its end.
  mysqld --defaults-file="$config" --datadir="$unfinished" --initialize-insecure \
    --performance-schema=OFF --innodb-doublewrite=OFF \
    --innodb-flush-log-at-trx-commit=0 --innodb-use-native-aio=OFF &
  child=$!
  trap 'kill -KILL "$child" 2>/dev/null; exit 143' TERM INT
  wait "$child"
  trap - TERM INT
  sync "$unfinished"/* "$unfinished"
  mv "$unfinished" "$data"
  sync "$home"
fi

exec mysqld --defaults-file="$config" --init-file="$home/conf/init.sql"
