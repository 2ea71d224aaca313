# shellcheck shell=sh
# keys.sh: what install-key.sh and remove-key.sh share. It is put before them.
LC_ALL=C
export LC_ALL

die() {
  printf '%s\n' "$*" >&2
  exit 1
}

# begin finds the file, which may be behind a link, and waits for others who change it.
begin() {
  file=$(readlink -f "$HOME/.ssh/authorized_keys") || die "$HOME/.ssh/authorized_keys links to nowhere"
  new=$file.berth-new
  trap 'rm -f "$new"' EXIT
  if command -v flock >/dev/null 2>&1; then
    exec 9<"${file%/*}"
    flock -w 30 9 || die "somebody else has been changing $file for 30 s"
  fi
}

# finish puts the new file in the place of the old one, at once.
finish() {
  mv -f "$new" "$file"
  if command -v restorecon >/dev/null 2>&1; then restorecon "$file" >/dev/null 2>&1 || :; fi
}

# is_key LINE TYPE KEY: whether it lets the key in, after whatever options. In a comment there is no key.
is_key() (
  kind=$2 key=$3
  set -f
  # shellcheck disable=SC2046 # words are what is wanted
  set -- $(printf '%s' "$1" | tr -d '\r')
  case ${1:-#} in '#'*) return 1 ;; esac
  previous=
  for word in "$@"; do
    if [ "$previous" = "$kind" ] && [ "$word" = "$key" ]; then return 0; fi
    previous=$word
  done
  return 1
)

has_key() {
  while IFS= read -r text || [ -n "$text" ]; do
    if is_key "$text" "$1" "$2"; then return 0; fi
  done <"$file"
  return 1
}

without_key() {
  while IFS= read -r text || [ -n "$text" ]; do
    is_key "$text" "$1" "$2" || printf '%s\n' "$text"
  done
}

# whole_lines ends a last line that has no end.
whole_lines() {
  while IFS= read -r text || [ -n "$text" ]; do printf '%s\n' "$text"; done
}
