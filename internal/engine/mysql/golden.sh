#!/bin/sh
# Makes the data directory that instances start from. The empty ends of its large files,
# which are two thirds of what there is to read in it, are cut off, and beside it is noted
# how long they were: who copies it makes them as long again.
set -eu
umask 0077

data=$1
block=65536

sh "${0%/*}/initialize.sh" "$data" &
child=$!
trap 'kill -TERM "$child" 2>/dev/null; wait "$child"; exit 143' TERM INT
wait "$child"
trap - TERM INT

# Whether the file has anything but zeros from a block on.
used() { [ "$(tail -c "+$(($2 * block + 1))" "$1" | tr -d '\0' | head -c 1 | wc -c)" -ne 0 ]; }

cd "$data"
for file in * */*; do
  [ -f "$file" ] || continue
  size=$(stat -c %s "$file")
  [ "$size" -gt 1048576 ] || continue
  low=0 high=$((size / block + 1)) # the first block from which on there is nothing
  while [ "$low" -lt "$high" ]; do
    middle=$(((low + high) / 2))
    if used "$file" "$middle"; then low=$((middle + 1)); else high=$middle; fi
  done
  [ "$((low * block))" -lt "$size" ] || continue
  whole=$(sha256sum <"$file")
  truncate -s "$((low * block))" "$file"
  truncate -s "$size" "$file"
  if [ "$(sha256sum <"$file")" != "$whole" ]; then
    echo "$file would lose data" >&2
    exit 1
  fi
  truncate -s "$((low * block))" "$file"
  echo "$size $file"
done >"$data.sizes"
sync "$data"/* "$data"/[!p]*/* "$data.sizes"
