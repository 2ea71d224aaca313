# shellcheck shell=sh disable=SC2154 # keys.sh sets file and new
# install-key.sh: let the owner of a key log in as this user.
#
# Usage: sh install-key.sh TYPE KEY [COMMENT]
#
# A key that is there already stays as it is, with whatever options its line has.
main() {
  set -eu
  umask 077
  folder=$HOME/.ssh
  [ -d "$folder" ] || mkdir -m 0700 "$folder" || die "$folder cannot be made"
  chmod go-w "$folder" # or sshd would ignore what is in it
  begin
  if [ -e "$file" ] && has_key "$@"; then
    echo 'the key was there'
    return
  fi
  [ ! -e "$file" ] || cp -p "$file" "$new"
  {
    [ ! -e "$file" ] || whole_lines <"$file"
    printf '%s %s%s\n' "$1" "$2" "${3:+ $3}"
  } >"$new"
  chmod go-w "$new"
  finish
  echo 'the key was added'
}
