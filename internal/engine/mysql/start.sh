#!/bin/sh
# Starts the MySQL server of an instance. Only this volume is writable.
set -eu
umask 0077
ulimit -n 65536 2>/dev/null || : # or fewer, where the engine allows no more
trap '' XFSZ # a file that may not grow any more is an error to the statement, not the server's end

home=/var/lib/mysql
config=$home/conf/my.cnf
accounts=$home/conf/init.sql
data=$home/data
unsafe=$home/unsafe
golden=/berth/data

[ ! -e "$home/tmp" ] || rm -rf "$home/tmp"
mkdir "$home/tmp"

# Whether a server was given its accounts on the data directory: they have a database.
used() {
  for folder in "$data"/*/; do
    case ${folder#"$data"/} in
      '*/' | mysql/ | sys/ | performance_schema/ | berth@002ehealth/ | '#'*) ;;
      *) return 0 ;;
    esac
  done
  return 1
}

# Beside a data directory that a crash of the host may have broken there is a mark: nobody
# could log in to it yet, and it is thrown away.
if [ -e "$unsafe" ]; then
  if [ -e "$data" ] && ! used; then
    rm -rf "$data.unfinished"
    mv "$data" "$data.unfinished"
    sync "$home"
  fi
  rm "$unsafe"
fi

# Gives a fresh data directory the key pair that came with the files of the first start.
# The server would make one, which takes it long.
give_keys() {
  [ ! -e "$home/conf/private_key.pem" ] || mv "$home/conf/private_key.pem" "$home/conf/public_key.pem" "$1"
}

# Where the image has a data directory to start from, it is copied, without its many empty
# pages, which were cut off at the ends of files.
copy() {
  [ -d "$golden" ] || return 1
  [ ! -e "$data.unfinished" ] || rm -rf "$data.unfinished"
  cp -r --sparse=always "$golden" "$data.unfinished" || return 1
  while read -r size file; do
    truncate -s "$size" "$data.unfinished/$file" || return 1
  done <"$golden.sizes" || return 1
  give_keys "$data.unfinished" || return 1
  : >"$unsafe" || exit 1 # from here on another way would start beside the mark
  sync "$home" || exit 1
  mv "$data.unfinished" "$data" || exit 1
}

# Has the disk keep these files of the copy, and only then gives the server its accounts.
# The server can start meanwhile. Should it have done away with one of them, the disk has
# to keep everything that it has. The first start is over when the accounts are there.
keep() {
  if { sync "$@" || sync -f "$data"; } && rm -f "$unsafe" && sync "$home"; then
    cat "$accounts" >"$home/tmp/init.sql"
  else
    echo "the disk does not take the data directory" >&2
    kill -KILL $$ # it waits for its accounts, and hears nothing else
  fi
}

if [ -d "$data" ]; then
  [ ! -e "$home/conf/private_key.pem" ] || rm -f "$home/conf/private_key.pem" "$home/conf/public_key.pem"
  exec mysqld --defaults-file="$config" --init-file="$accounts"
fi
if copy; then
  mkfifo "$home/tmp/init.sql"
  # In the folder that is left out are only descriptions that the server does not read. The
  # files that it changes soonest come first.
  set -- "$data"/[!p]*/* "$data"/* "$data"
  (keep "$@" &) # nobody's child: the server would not ask how it ended
  exec mysqld --defaults-file="$config" --init-file="$home/tmp/init.sql"
fi
TMPDIR=$home/tmp sh "$home/conf/initialize.sh" "$data" &
child=$!
trap 'kill -TERM "$child" 2>/dev/null; wait "$child"; exit 143' TERM INT
wait "$child"
trap - TERM INT
give_keys "$data"
sync "$data"/*.pem "$data" || :
exec mysqld --defaults-file="$config" --init-file="$accounts"
