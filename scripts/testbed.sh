# shellcheck shell=bash
# testbed.sh: what fleet.sh and machine.sh share. To be sourced after apt.sh, not run.
# It owns how a host of a test bed is made on this machine, out of namespaces: where its files are,
# how it is reached, and that nothing of it stays. It must not know what runs on such a host.
#
# A test bed is a folder below $testbed_base. It has one network: a bridge in a network namespace of
# its own (so that the rules of this machine's firewall do not see what passes it), with this machine
# as its first address. Each host has namespaces that end with one process, its keeper.
#
#   testbed_open NAME       its folder in $bed, its lock taken; what dead owners have left is removed
#   testbed_network         its network, made unless it is there; $subnet is "10.215.7"
#   testbed_keep DIR CMD…   runs the command in new namespaces and waits until it has written DIR/pid
#   testbed_join DIR ADDR   gives the host's namespace an interface eth0 in the network
#   testbed_alive DIR       true while the host's keeper runs
#   testbed_end DIR…        ends hosts: their processes, mounts and interfaces go with their namespaces
#   testbed_close           ends all hosts and removes the folder

# Short, because of the sockets in it.
testbed_base=/var/lib/berth-testbed
bed='' subnet=''

testbed_need() {
  local packages=()
  [ "$(id -u)" = 0 ] || die "it makes hosts out of namespaces, which needs root"
  command -v ip >/dev/null 2>&1 || packages+=(iproute2)
  command -v nsenter >/dev/null 2>&1 || packages+=(util-linux)
  [ "${#packages[@]}" -gt 0 ] || return 0
  can_apt || die "this machine lacks: ${packages[*]} (names of Debian's packages)"
  apt_install "${packages[@]}"
}

# process_of PID: its number and when it began, which together belong to no other process.
process_of() {
  local stat
  stat=$(sed 's/.*) //' "/proc/$1/stat" 2>/dev/null) || return 1
  printf '%s %s\n' "$1" "$(cut -d ' ' -f 20 <<<"$stat")"
}

# process_lives FILE: whether the process that the file names runs still.
process_lives() {
  local pid
  pid=$(cut -d ' ' -f 1 "$1" 2>/dev/null) && [ -n "$pid" ] && [ "$(process_of "$pid")" = "$(cat "$1")" ]
}

testbed_open() {
  local old
  [[ $1 =~ ^[a-z0-9-]{1,24}$ ]] || die "the name of a test bed has up to 24 letters, digits and hyphens, not $1"
  mkdir -p "$testbed_base"
  for old in "$testbed_base"/*/; do
    old=${old%/}
    if [ ! -e "$old/owner" ] || process_lives "$old/owner"; then continue; fi
    # Another script may be at it, too.
    (flock -n 7 && bed=$old && testbed_close) 7>>"$old.lock" || true
  done
  bed=$testbed_base/$1
  exec 9>>"$bed.lock"
  flock -w 600 9 || die "another run has been at work on $bed for ten minutes; giving up"
}

# testbed_own PID: the test bed is removed by whoever comes next when the process has ended.
testbed_own() { mkdir -p "$bed" && process_of "$1" >"$bed/owner"; }

# testbed_keep DIR COMMAND…: with network, mounts, host name and processes of its own. The command
# must write the number that it has outside (testbed_pid) to DIR/pid.
testbed_keep() {
  local dir=$1
  shift
  mkdir -p "$dir"
  rm -f "$dir/pid"
  setsid unshare --net --mount --uts --ipc --pid --fork --kill-child --propagation private "$@" >>"$dir/log" 2>&1 </dev/null 7>&- 8>&- 9>&- &
  process_of $! >"$dir/keeper"
  for _ in {1..300}; do [ ! -s "$dir/pid" ] || return 0; sleep 0.1; done
  tail -n 5 "$dir/log" >&2
  die "no namespaces for $dir"
}

# testbed_pid begins the command of testbed_keep: /proc is still the one of outside then.
# shellcheck disable=SC2016
testbed_pid='read -r pid rest </proc/self/stat; echo "$pid" >"$dir/pid.new"; mv "$dir/pid.new" "$dir/pid"'

testbed_alive() { [ -s "$1/pid" ] && process_lives "$1/keeper"; }

# testbed_in DIR COMMAND…: runs it on the host.
testbed_in() {
  local dir=$1
  shift
  nsenter --target "$(cat "$dir/pid")" --net --mount --uts --ipc --pid -- "$@"
}

# testbed_end DIR…
testbed_end() {
  local dir
  for dir in "$@"; do
    process_lives "$dir/keeper" || rm -f "$dir/pid"
    [ ! -e "$dir/pid" ] || kill -KILL "$(cut -d ' ' -f 1 "$dir/keeper")" 2>/dev/null || true
  done
  for dir in "$@"; do
    # The first process of a namespace ends after all others. It may be a zombie for seconds then.
    for _ in {1..300}; do
      [ -e "$dir/pid" ] && grep -qs '^State:.[^ZX]' "/proc/$(cat "$dir/pid")/status" || break
      sleep 0.1
    done
    rm -f "$dir/keeper" "$dir/pid"
  done
}

# testbed_network draws a subnet. The interface has its number in its name, which one can have.
testbed_network() {
  local n dir=$bed/network
  if testbed_alive "$dir" && [ -s "$bed/subnet" ]; then subnet=$(cat "$bed/subnet"); return 0; fi
  testbed_end "$dir"
  # shellcheck disable=SC2016
  testbed_keep "$dir" sh -c 'dir=$1; '"$testbed_pid"'; while :; do sleep 3600 & wait $!; done' testbed "$dir"
  testbed_ip "$dir" link add br0 type bridge
  testbed_ip "$dir" link set br0 up
  for _ in {1..200}; do
    n=$((RANDOM % 255 + 1)) subnet=10.215.$n
    ! ip -o address | grep -qF " $subnet." || continue
    ip link add "berth-f$n" type veth peer name root netns "$(cat "$dir/pid")" 2>/dev/null || continue
    echo "$subnet" >"$bed/subnet"
    testbed_ip "$dir" link set root master br0 up
    ip address add "$subnet.1/24" dev "berth-f$n"
    ip link set "berth-f$n" up
    return 0
  done
  die "every subnet of 10.215.0.0/16 is taken"
}

# testbed_ip DIR …: ip, in the host's network.
testbed_ip() { nsenter --target "$(cat "$1/pid")" --net ip "${@:2}"; }

testbed_join() {
  local network=$bed/network port=p${2##*.} card
  testbed_ip "$network" link delete "$port" 2>/dev/null || true # of an earlier life, which takes a moment to go by itself
  # As a machine keeps its card: others go on sending to that when it is back.
  # shellcheck disable=SC2086
  printf -v card '02:d7:%02x:%02x:%02x:%02x' ${2//./ }
  testbed_ip "$network" link add "$port" type veth peer name eth0 address "$card" netns "$(cat "$1/pid")"
  testbed_ip "$network" link set "$port" master br0 up
  testbed_ip "$1" address add "$2/24" dev eth0
  testbed_ip "$1" link set eth0 up
  testbed_ip "$1" link set lo up
}

testbed_close() {
  local keepers=("$bed"/*/keeper) try
  testbed_end "${keepers[@]%/keeper}"
  [ ! -s "$bed/subnet" ] || ip link delete "berth-f$(cut -d . -f 3 "$bed/subnet")" 2>/dev/null || true
  # The kernel takes a moment to let go of what the processes had.
  for try in {1..40}; do
    testbed_cgroups
    rm -rf --one-file-system "$bed" 2>/dev/null && break
    [ "$try" -lt 40 ] || { say "$bed could not be removed; the next run tries again"; return 1; }
    sleep 0.25
  done
  rm -f "$bed.lock"
}

# testbed_cgroups removes the cgroups of the hosts, which are below one with the folder's name.
testbed_cgroups() {
  local group
  for group in /sys/fs/cgroup/*/"berth-${bed##*/}" /sys/fs/cgroup/"berth-${bed##*/}"; do
    [ ! -d "$group" ] || find "$group" -depth -type d -exec rmdir '{}' ';' 2>/dev/null || true
  done
}
