#!/bin/sh
# Starts the MySQL server of an instance. Only this volume is writable.
set -eu
umask 0077

home=/var/lib/mysql
config=$home/conf/my.cnf
data=$home/data
golden=/berth/data

rm -rf "$home/tmp"
mkdir "$home/tmp"

# A data directory under its own name is whole. Where the image has one to start from, it
# is copied, without its many empty pages, which were cut off at the ends of files; else it
# is made.
copy() {
  [ -d "$golden" ] || return 1
  rm -rf "$data.unfinished"
  cp -r --sparse=always "$golden" "$data.unfinished" || return 1
  while read -r size file; do
    truncate -s "$size" "$data.unfinished/$file" || return 1
  done <"$golden.sizes" || return 1
  # In the folder that is left out are only descriptions that the server does not read.
  sync "$data.unfinished"/* "$data.unfinished"/[!p]*/* "$data.unfinished" || return 1
  mv "$data.unfinished" "$data" || return 1
  sync "$home"
}

if [ ! -d "$data" ] && ! copy; then
  TMPDIR=$home/tmp sh "$home/conf/initialize.sh" "$data" &
  child=$!
  trap 'kill -TERM "$child" 2>/dev/null; wait "$child"; exit 143' TERM INT
  wait "$child"
  trap - TERM INT
fi

exec mysqld --defaults-file="$config" --init-file="$home/conf/init.sql"
