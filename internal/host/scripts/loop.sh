# shellcheck shell=sh
# loop.sh: file systems of their own on a disk, one for each instance: a file NAME.img that is mounted at NAME.
#
# Usage: sh loop.sh ready DISK [used]        see that file systems can be made on the disk, and mark it as Berth's;
#                                            one that is used already must have the mark
#        sh loop.sh make DISK NAME BYTES     make one, and attach it; says made=INODE if it was not there
#        sh loop.sh attach DISK NAME         mount one that is there
#        sh loop.sh remove DISK NAME [INODE] unmount one and delete it; with INODE only if it is that file
#        sh loop.sh list DISK                a line loop=NAME for each
#        sh loop.sh space DISK               size=BYTES and free=BYTES of the disk itself
#
# Each may be run again at any time, by several at once. What fails is the last line of standard error; it ends
# with 3 where the disk, or the file on it, is not there, 4 where the file system is in use, else with 1.
# Device numbers are kept nowhere: the kernel gives one with each mount, and takes it back at the unmount. Tests
# put the files of a machine below BERTH_ROOT.
set -eu
umask 077
LC_ALL=C
PATH=$PATH:/usr/sbin:/sbin
export LC_ALL PATH
R=${BERTH_ROOT:-}

has() { command -v "$1" >/dev/null 2>&1; }

# die STATUS WORDS…
die() {
  status=$1
  shift
  printf '%s\n' "$*" >&2
  exit "$status"
}

# lock: be the only one on the disk. What is not marked as Berth's may be a disk that is not mounted.
lock() {
  [ -e "$disk/.berth" ] || die 3 "the disk $disk is not there: its file .berth is missing"
  exec 9<"$disk/.berth"
  flock -w 60 9 || die 1 "the disk $disk was locked by another script of Berth for a minute"
}

# mounted: the number of the device that is mounted at the folder last, in $device; empty: nothing is. The
# kernel writes spaces and backslashes of paths as numbers.
mounted() {
  device=
  at=$(printf '%s' "$folder" | sed 's/\\/\\134/g; s/ /\\040/g')
  while read -r _ _ number _ point _; do
    if [ "$point" = "$at" ]; then device=$number; fi
  done <"$R/proc/self/mountinfo"
}

# backing: the file behind the device $device.
backing() { cat "$R/sys/dev/block/$device/loop/backing_file" 2>/dev/null || :; }

# own: fail unless what is mounted at the folder is the instance's own file.
own() {
  found=$(backing)
  case $found in
    "$file" | "$file (deleted)") ;;
    *) die 1 "something else is mounted at $folder (${found:-no file}); unmount it" ;;
  esac
}

# held: whether any device has the file.
held() {
  for one in "$R"/sys/block/loop*/loop/backing_file; do
    [ -r "$one" ] || continue
    case $(cat "$one" 2>/dev/null || :) in "$file" | "$file (deleted)") return 0 ;; esac
  done
  return 1
}

ready() {
  for tool in fallocate mkfs.ext4 mount umount flock; do
    has "$tool" || die 1 "$tool is missing; install util-linux and e2fsprogs"
  done
  [ -z "${1:-}" ] || [ -e "$disk/.berth" ] || die 3 "the disk $disk is not there: its file .berth is missing"
  : >>"$disk/.berth"
}

# make_file BYTES: all of it is taken at once, and stays so: a file with holes would give errors of the device, to
# all that are on the disk, when the disk is full. mkfs gives back what it does not use unless it is told not to.
make_file() {
  rm -f "$file.new"
  if ! words=$(fallocate -l "$1" "$file.new" 2>&1); then
    rm -f "$file.new"
    die 1 "the disk $disk does not give $1 bytes: ${words:-fallocate failed}"
  fi
  if ! words=$(mkfs.ext4 -q -F -m 0 -E nodiscard "$file.new" 2>&1); then
    rm -f "$file.new"
    die 1 "no file system could be made on $disk: $words"
  fi
  mv "$file.new" "$file"
  # shellcheck disable=SC2012 # the name is Berth's own
  ls -i "$file" | sed 's/^ *\([0-9]*\).*/made=\1/'
}

attach() {
  [ -e "$file" ] || die 3 "$file is not there: mount the disk that it is on"
  mounted
  if [ -z "$device" ]; then
    mkdir -p "$folder"
    words=$(mount -t ext4 -o loop,nosuid,nodev,noatime,errors=remount-ro "$file" "$folder" 2>&1) || die 1 "$file could not be mounted: $words"
    mounted
  fi
  [ -n "$device" ] || die 1 "$file was mounted, and is not at $folder"
  found=$(backing)
  [ "$found" = "$file" ] || die 1 "something else is mounted at $folder (${found:-no file}); unmount it"
}

# The server's data are in a folder of the file system: where that is not mounted there is no such folder, and
# nothing starts on the empty one below it.
make() {
  [ -e "$file" ] || make_file "$1"
  attach
  if [ ! -d "$folder/data" ]; then
    mkdir "$folder/data"
    chmod 0711 "$folder/data" "$folder"
  fi
}

remove() {
  if [ -n "${1:-}" ] && [ -e "$file" ]; then
    # shellcheck disable=SC2012 # the name is Berth's own
    [ "$(ls -i "$file" | sed 's/^ *\([0-9]*\).*/\1/')" = "$1" ] || return 0
  fi
  mounted
  while [ -n "$device" ]; do
    own
    words=$(umount "$folder" 2>&1) || die 4 "$folder could not be unmounted: $words"
    mounted
  done
  tries=0
  while held; do
    [ "$tries" -lt 5 ] || die 4 "a device still has $file: something has its file system mounted elsewhere"
    tries=$((tries + 1))
    sleep 1
  done
  rm -f "$file" "$file.new"
  if [ -e "$folder" ]; then words=$(rmdir "$folder" 2>&1) || die 1 "$words: something was put there while nothing was mounted; move it away"; fi
}

list() {
  for one in "$disk"/*.img; do
    [ -e "$one" ] || continue
    name=${one##*/}
    printf 'loop=%s\n' "${name%.img}"
  done
}

space() {
  df -P -k -- "$disk" | while read -r _ size _ free _; do
    case $size in *[!0-9]*) ;; *) printf 'size=%s\nfree=%s\n' "$((size * 1024))" "$((free * 1024))" ;; esac
  done
}

main() {
  verb=$1
  # Paths of the kernel have no links in them.
  disk=$(cd "$2" 2>/dev/null && pwd -P) || die 3 "the disk $2 is not there"
  name=${3:-}
  file=$disk/$name.img
  folder=$disk/$name
  case $verb in
    ready) ready "${3:-}" ;;
    list | space) "$verb" ;;
    make | attach | remove)
      lock
      "$verb" "${4:-}"
      ;;
    *) die 1 "there is nothing called $verb" ;;
  esac
}

main "$@" </dev/null
