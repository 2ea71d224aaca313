# shellcheck shell=sh disable=SC2154 # keys.sh sets file and new
# remove-key.sh: no longer let the owner of a key log in as this user.
#
# Usage: sh remove-key.sh TYPE KEY
#
# Lines of other keys stay as they are, those that are comments, too.
main() {
  set -eu
  umask 077
  if [ ! -e "$HOME/.ssh/authorized_keys" ]; then
    echo 'the key was not there'
    return
  fi
  begin
  if ! has_key "$@"; then
    echo 'the key was not there'
    return
  fi
  cp -p "$file" "$new"
  without_key "$@" <"$file" >"$new"
  finish
  echo 'the key was removed'
}
