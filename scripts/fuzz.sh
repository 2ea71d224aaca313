#!/usr/bin/env bash
# fuzz.sh: run every fuzz target for a while, one after the other. `make fuzz` does so.
#
# Usage: scripts/fuzz.sh [PACKAGE …]        (default: all packages that have fuzz targets)
#
# An input that fails is written to testdata/fuzz/TARGET beside the test, and from then on every run of the tests
# tries it, too: mend what it found, and keep the file. All targets run, also after one has failed; a table in the
# end says how each ended. Settings: FUZZ_TIME (30s) for each target, FUZZ_ONLY, a regular expression of targets.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cd "$here/.."
export CGO_ENABLED=0

# Only packages with a target that is wanted are built. What they have, go tells.
packages() {
  if [ $# -gt 0 ]; then
    printf '%s\n' "$@"
  else
    git grep --untracked '^func Fuzz' -- '*_test.go' | sed 's|^\(.*\)/[^/]*:func \(Fuzz[A-Za-z0-9_]*\).*|./\1 \2|' |
      while read -r package target; do
        if [[ $target =~ ${FUZZ_ONLY:-^Fuzz} ]]; then echo "$package"; fi
      done | sort -u
  fi
}

main() {
  local package target started result list failed=0 count=0 table=''
  for package in $(packages "$@"); do
    list=$(go test -list "${FUZZ_ONLY:-^Fuzz}" "$package" | grep '^Fuzz' || true)
    for target in $list; do
      started=$SECONDS result=passed count=$((count + 1))
      # What is of interest is not made as short as can be: that would take the time that is for finding more.
      go test -run '^$' -fuzz "^$target\$" -fuzztime "${FUZZ_TIME:-30s}" -fuzzminimizetime 1s -timeout 30m "$package" || { result=FAILED; failed=1; }
      table+=$(printf '%-24s  %-22s  %s  %4d s' "$package" "$target" "$result" $((SECONDS - started)))$'\n'
    done
  done
  printf '%s' "$table"
  [ "$count" -gt 0 ] || { echo 'fuzz.sh: there are no such targets' >&2; return 1; }
  return "$failed"
}

main "$@"
