# shellcheck shell=sh
# prepare.sh: bring one thing of this machine into the state that Berth wants.
#
# Usage: sh prepare.sh FIX [PATH …]
#
#   docker          install a Docker engine, start it now and at boot, and let this user use it
#   numactl         install numactl
#   swap_off        turn swap off, now and at boot
#   sysctls         write /etc/sysctl.d/90-berth.conf and apply it
#   mount_options   mount the data disks at these paths with noatime, those of ext4 with nodelalloc, too
#
# Each may be run again at any time. It writes a line before=… and a line after=…; what fails is the last
# line of standard error. Files that others have written are kept beside, as NAME.berth-TIME, before they are
# changed. Tests put the files of a machine below BERTH_ROOT.
set -eu
LC_ALL=C
export LC_ALL
R=${BERTH_ROOT:-}
SUDO=

has() { command -v "$1" >/dev/null 2>&1; }
die() {
  printf '%s\n' "$*" >&2
  exit 1
}
before() { printf 'before=%s\n' "$*"; }
after() { printf 'after=%s\n' "$*"; }

need_root() {
  [ "$(id -u)" != 0 ] || return 0
  if ! has sudo || ! sudo -n true >/dev/null 2>&1; then
    die "$(id -un) is neither root nor may run sudo without a password; log in as one who is"
  fi
  SUDO=yes
}

as_root() {
  if [ -n "$SUDO" ]; then sudo -n "$@"; else "$@"; fi
}

# quietly COMMAND…: its words are shown only if it fails, the last line last.
quietly() {
  log=$(mktemp)
  status=0
  "$@" >"$log" 2>&1 || status=$?
  [ "$status" = 0 ] || tail -n 15 "$log" >&2
  rm -f "$log"
  return "$status"
}

# replace FILE: put standard input in its place, as a whole or not at all, with its owner and mode.
replace() {
  real=$(readlink -f "$1")
  new=$real.berth-new
  if [ -e "$real" ]; then as_root cp -p "$real" "$new"; fi
  as_root tee "$new" >/dev/null
  as_root mv -f "$new" "$real"
}

backup() {
  copy=$(readlink -f "$1").berth-$(date -u +%Y%m%dT%H%M%SZ)
  [ -e "$copy" ] || as_root cp -p "$1" "$copy"
}

apt_install() {
  quietly as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq -y -o DPkg::Lock::Timeout=300 install --no-install-recommends "$@" && return 0
  quietly as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq -y -o DPkg::Lock::Timeout=300 update || :
  quietly as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq -y -o DPkg::Lock::Timeout=300 install --no-install-recommends "$@"
}

# install_any WHAT PACKAGE…: the first of the packages that the distribution has.
install_any() {
  what=$1
  shift
  for tool in dnf yum zypper apk; do
    has "$tool" || continue
    for package in "$@"; do
      case $tool in
        dnf | yum) quietly as_root "$tool" -q -y install "$package" && return 0 ;;
        zypper) quietly as_root zypper -q --non-interactive install "$package" && return 0 ;;
        apk) quietly as_root apk -q add "$package" && return 0 ;;
      esac
    done
    die "$tool could not install $what; see its words above, and install it by hand"
  done
  die "no package manager that Berth knows (apt-get, dnf, yum, zypper, apk) is here; install $what by hand"
}

engine_state() {
  if [ -S "$R/var/run/docker.sock" ]; then
    echo 'a Docker engine runs'
  elif has dockerd; then
    echo 'a Docker engine is installed and does not run'
  else
    echo 'there is no Docker engine'
  fi
}

start_engine() {
  if [ -d "$R/run/systemd/system" ]; then
    quietly as_root systemctl enable --now docker || die 'systemd could not start docker; see journalctl -u docker'
  elif has service; then
    quietly as_root service docker start || die 'the service docker could not be started; see /var/log/docker.log'
  else
    die 'there is neither systemd nor service here; have dockerd started at boot by hand'
  fi
  waited=0
  until [ -S "$R/var/run/docker.sock" ]; do
    [ "$waited" -lt 30 ] || die 'dockerd was started and has no socket after 30 s; see its log'
    waited=$((waited + 1))
    sleep 1
  done
}

# Who may use the socket is as good as root on this machine, as somebody with sudo is already.
join_group() {
  user=$(id -un)
  [ "$(id -u)" != 0 ] || return 0
  case " $(id -Gn "$user") " in *' docker '*) return 0 ;; esac
  quietly as_root usermod -aG docker "$user" || die "$user could not be added to the group docker"
  joined="; $user is in the group docker from the next login on"
}

fix_docker() {
  joined=
  before "$(engine_state)"
  if [ ! -S "$R/var/run/docker.sock" ]; then
    if ! has dockerd; then
      if has apt-get; then
        apt_install docker.io iptables || die 'apt-get could not install docker.io and iptables; see its words above'
      else
        install_any 'a Docker engine' moby-engine docker-ce docker
        has dockerd || die 'the package docker of this distribution is no Docker engine; install one by hand'
      fi
    fi
    start_engine
  fi
  join_group
  after "$(engine_state)$joined"
}

fix_numactl() {
  if has numactl; then
    before 'numactl is installed'
  else
    before 'there is no numactl'
    if has apt-get; then
      apt_install numactl || die 'apt-get could not install numactl; see its words above'
    else
      install_any numactl numactl
    fi
  fi
  after 'numactl is installed'
}

swap_state() {
  kilobytes=$(sed -n 's/^SwapTotal:[[:space:]]*\([0-9]*\) kB/\1/p' "$R/proc/meminfo")
  lines=0
  if [ -r "$R/etc/fstab" ]; then
    while read -r source _ kind _ || [ -n "$source" ]; do
      case $source in '#'*) ;; *) [ "$kind" != swap ] || lines=$((lines + 1)) ;; esac
      source=
    done <"$R/etc/fstab"
  fi
  echo "$((${kilobytes:-0} / 1024)) MiB of swap, $lines in fstab"
}

fix_swap_off() {
  state=$(swap_state)
  before "$state"
  case $state in '0 MiB'*) ;; *) quietly as_root swapoff -a || die 'swapoff failed: there may be too little memory for what is swapped out' ;; esac
  case $state in
    *' 0 in fstab') ;;
    *)
      backup "$R/etc/fstab"
      without_swap <"$R/etc/fstab" >"$work"
      replace "$R/etc/fstab" <"$work"
      ;;
  esac
  after "$(swap_state)"
}

without_swap() {
  while IFS= read -r text || [ -n "$text" ]; do
    kind=$(printf '%s\n' "$text" | { read -r source _ kind _ || :; case $source in '#'*) ;; *) printf '%s' "$kind" ;; esac; })
    if [ "$kind" = swap ]; then text="# turned off by Berth: $text"; fi
    printf '%s\n' "$text"
  done
}

# What must be at least so much is never made less. The files below /proc/sys give all that they
# have to the first read, and no shell's own `read` asks for more than one character.
sysctls() {
  echo 'vm.overcommit_memory = 1'
  echo 'vm.swappiness = 1'
  for pair in net.core.somaxconn:4096 fs.file-max:1000000 vm.max_map_count:262144; do
    name=${pair%:*} wanted=${pair#*:} now=
    file=$R/proc/sys/$(printf '%s' "$name" | tr . /)
    if [ -r "$file" ]; then now=$(head -n 1 "$file" 2>/dev/null || :); fi
    case $now in '' | *[!0-9]*) now=0 ;; esac
    if [ "$now" -gt "$wanted" ]; then wanted=$now; fi
    echo "$name = $wanted"
  done
}

sysctl_state() {
  text=
  for name in vm.overcommit_memory vm.swappiness net.core.somaxconn fs.file-max vm.max_map_count; do
    now=unknown
    file=$R/proc/sys/$(printf '%s' "$name" | tr . /)
    if [ -r "$file" ]; then now=$(head -n 1 "$file" 2>/dev/null || :); fi
    text="$text${text:+ }$name=$now"
  done
  echo "$text"
}

fix_sysctls() {
  before "$(sysctl_state)"
  configuration=$R/etc/sysctl.d/90-berth.conf
  {
    echo '# Written by Berth, for databases in containers. Changes are overwritten.'
    sysctls
  } >"$work"
  as_root mkdir -p "${configuration%/*}"
  if [ ! -e "$configuration" ] || ! cmp -s "$work" "$configuration"; then
    replace "$configuration" <"$work"
    as_root chmod 0644 "$configuration"
  fi
  while read -r name _ value; do
    case $name in '#'*) continue ;; esac
    target=$R/proc/sys/$(printf '%s' "$name" | tr . /)
    [ -e "$target" ] || continue
    printf '%s\n' "$value" | as_root tee "$target" >/dev/null || die "$name could not be set to $value"
  done <"$work"
  after "$(sysctl_state)"
}

# mounted PATH: the kind and the options of what is mounted there; nothing when nothing is.
mounted() {
  found=
  while read -r _ point kind options _; do
    if [ "$(printf '%b' "$point")" = "$1" ]; then found="$kind $options"; fi
  done <"$R/proc/self/mounts"
  printf '%s' "$found"
}

in_fstab() {
  while read -r source point _ || [ -n "$source" ]; do
    case $source in '' | '#'*) continue ;; esac
    if [ "$(printf '%b' "$point")" = "$1" ]; then return 0; fi
  done <"$R/etc/fstab"
  return 1
}

# wanted_options KIND OPTIONS: with those that data disks have, without those that are against them.
wanted_options() {
  result=
  rest=$2,
  while [ -n "$rest" ]; do
    one=${rest%%,*}
    rest=${rest#*,}
    case $1:$one in
      *: | *:atime | *:noatime | *:relatime | *:strictatime | ext4:delalloc | ext4:nodelalloc) ;;
      *) result=$result${result:+,}$one ;;
    esac
  done
  result=${result:-defaults},noatime
  if [ "$1" = ext4 ]; then result=$result,nodelalloc; fi
  echo "$result"
}

with_options() { # PATH KIND
  while IFS= read -r text || [ -n "$text" ]; do
    # shellcheck disable=SC2086 # fields are what is wanted
    set -f -- "$1" "$2" $text
    case ${3:-#} in '#'*) printf '%s\n' "$text"; continue ;; esac
    if [ $# -lt 5 ] || [ "$(printf '%b' "$4")" != "$1" ]; then
      printf '%s\n' "$text"
      continue
    fi
    printf '%s\t%s\t%s\t%s\t%s\t%s\n' "$3" "$4" "$5" "$(wanted_options "$2" "${6:-defaults}")" "${7:-0}" "${8:-0}"
  done
}

mount_state() {
  text=
  for path in "$@"; do
    found=$(mounted "$path")
    text="$text${text:+; }$path: ${found#* }"
  done
  echo "$text"
}

fix_mount_options() {
  [ $# -gt 0 ] || die 'mount_options needs the paths of data disks'
  for path in "$@"; do # all of them, before anything is changed
    [ -n "$(mounted "$path")" ] || die "nothing is mounted at $path"
    in_fstab "$path" || die "$path is not in /etc/fstab; add it, or set its options where it is mounted from"
  done
  before "$(mount_state "$@")"
  for path in "$@"; do mount_with "$path"; done
  after "$(mount_state "$@")"
}

mount_with() {
  found=$(mounted "$1")
  kind=${found%% *}
  with_options "$1" "$kind" <"$R/etc/fstab" >"$work"
  flags=noatime
  if [ "$kind" = ext4 ]; then flags=noatime,nodelalloc; fi
  old=$(mktemp)
  cat "$R/etc/fstab" >"$old"
  if ! cmp -s "$work" "$old"; then
    backup "$R/etc/fstab"
    replace "$R/etc/fstab" <"$work"
  fi
  case ",${found#* }," in
    *,noatime,*) if [ "$kind" != ext4 ]; then flags=; else case ",${found#* }," in *,nodelalloc,*) flags= ;; esac; fi ;;
  esac
  if [ -n "$flags" ] && ! quietly as_root mount -o "remount,$flags" "$1"; then
    replace "$R/etc/fstab" <"$old"
    rm -f "$old"
    die "$1 could not be mounted anew with $flags; /etc/fstab is as it was"
  fi
  rm -f "$old"
}

main() {
  fix=${1:-}
  [ $# -eq 0 ] || shift
  case $fix in
    docker | numactl | swap_off | sysctls | mount_options) ;;
    *) die "there is no fix $fix; there are docker, numactl, swap_off, sysctls and mount_options" ;;
  esac
  need_root
  work=$(mktemp)
  trap 'rm -f "$work"' EXIT
  "fix_$fix" "$@"
}

main "$@" </dev/null
