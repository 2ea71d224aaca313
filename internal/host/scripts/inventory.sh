# shellcheck shell=sh
# inventory.sh: say what this machine is, as lines of KEY=VALUE. It changes nothing.
#
# Usage: sh inventory.sh DOCKER_FOLDER [DISK …]
#
# DOCKER_FOLDER is where Docker keeps its data; empty: where its configuration says, or the usual place.
# What cannot be found out has no line. Tests put files of another machine below BERTH_ROOT.
set -u
LC_ALL=C
export LC_ALL
R=${BERTH_ROOT:-}

has() { command -v "$1" >/dev/null 2>&1; }

# say KEY VALUE: one line, whatever the value holds; none for an empty value.
say() {
  [ -n "$2" ] || return 0
  printf '%s=%s\n' "$1" "$(printf '%s' "$2" | tr '\n\r' '  ')"
}

# first FILE: its first line.
# The files below /proc/sys give all that they have to the first read, and no shell's own `read`
# asks for more than one character.
first() {
  if [ -r "$1" ]; then
    head -n 1 "$1" 2>/dev/null || :
  fi
}

architecture() {
  case $(uname -m) in
    x86_64 | amd64) echo amd64 ;;
    aarch64 | arm64) echo arm64 ;;
    armv*) echo arm ;;
    i?86) echo 386 ;;
    *) uname -m ;;
  esac
}

# The time in milliseconds, where date knows parts of seconds.
clock() {
  nanoseconds=$(date +%s%N)
  case $nanoseconds in
    *[!0-9]*) echo "$(date +%s)000" ;;
    ???????????????????) echo "${nanoseconds%??????}" ;;
    *) echo "$(date +%s)000" ;;
  esac
}

# meminfo NAME: bytes.
meminfo() {
  [ -r "$R/proc/meminfo" ] || return 0
  while read -r name amount unit; do
    [ "$name" = "$1:" ] && [ "$unit" = kB ] && echo $((amount * 1024))
  done <"$R/proc/meminfo"
}

os_name() {
  for release in "$R/etc/os-release" "$R/usr/lib/os-release"; do
    if [ -r "$release" ]; then
      sed -n 's/^PRETTY_NAME=//p' "$release" | head -n 1 | tr -d "\"'"
      return
    fi
  done
}

privilege() {
  if [ "$(id -u)" = 0 ]; then
    echo root
  elif has sudo && sudo -n true >/dev/null 2>&1; then
    echo sudo
  else
    echo none
  fi
}

# Of a virtual machine the kernel tells on most machines; the maker's name on some others.
virtual() {
  if has systemd-detect-virt; then
    found=$(systemd-detect-virt --vm 2>/dev/null)
    if [ -n "$found" ]; then
      echo "$found"
      return
    fi
  fi
  if grep -q '^flags.*[[:space:]]hypervisor' "$R/proc/cpuinfo" 2>/dev/null; then
    echo vm
    return
  fi
  case "$(first "$R/sys/class/dmi/id/sys_vendor") $(first "$R/sys/class/dmi/id/product_name")" in
    *QEMU* | *KVM* | *VMware* | *VirtualBox* | *Xen* | *HVM* | *Bochs* | *'Virtual Machine'* | *Parallels*) echo vm ;;
    *) if [ -r "$R/sys/hypervisor/type" ]; then first "$R/sys/hypervisor/type"; else echo none; fi ;;
  esac
}

governors() {
  cat "$R"/sys/devices/system/cpu/cpu[0-9]*/cpufreq/scaling_governor 2>/dev/null | sort -u | tr '\n' ' '
}

control_groups() {
  if [ -r "$R/sys/fs/cgroup/cgroup.controllers" ]; then
    say cgroup 2
    case " $(first "$R/sys/fs/cgroup/cgroup.controllers") " in *' memory '*) say cgroup_memory yes ;; *) say cgroup_memory no ;; esac
  elif [ -d "$R/sys/fs/cgroup" ]; then
    say cgroup 1
    if [ -d "$R/sys/fs/cgroup/memory" ]; then say cgroup_memory yes; else say cgroup_memory no; fi
  fi
}

docker_socket() {
  socket=$R/var/run/docker.sock
  if [ ! -S "$socket" ]; then
    echo missing
  elif [ -r "$socket" ] && [ -w "$socket" ]; then
    echo accessible
  else
    echo denied
  fi
}

# shellcheck disable=SC3045 # dash, bash, busybox and ksh know -S and -H; where they are unknown there is no line
limits() {
  say nofile_soft "$(ulimit -S -n 2>/dev/null)"
  say nofile_hard "$(ulimit -H -n 2>/dev/null)"
  pid=$(first "$R/var/run/docker.pid")
  case $pid in
    '' | *[!0-9]*) ;;
    *) [ -r "$R/proc/$pid/limits" ] && say nofile_engine "$(sed -n 's/^Max open files  *\([^ ]*\).*/\1/p' "$R/proc/$pid/limits")" ;;
  esac
}

# df's line of a folder: device, size, used, free, share, and the mount point, which may have spaces.
filesystem() { df -P -k -- "$1" 2>/dev/null | sed -n '2p'; }

# space PREFIX FOLDER: what is free, where the folder or what it will be in is.
space() {
  folder=$2
  while [ ! -d "$R$folder" ]; do
    folder=${folder%/*}
    [ -n "$folder" ] || folder=/
    [ "$folder" = / ] && break
  done
  # shellcheck disable=SC2046 # words are what is wanted
  set -f -- "$1" "$2" $(filesystem "$R$folder")
  say "$1.path" "$2"
  [ $# -ge 8 ] || return 0
  say "$1.size" "$(($4 * 1024))"
  say "$1.free" "$(($6 * 1024))"
}

rotational() {
  device=$(readlink -f "$1" 2>/dev/null) || device=$1
  name=${device##*/}
  for queue in "$R/sys/class/block/$name/queue" "$R/sys/class/block/$name/../queue"; do
    if [ -r "$queue/rotational" ]; then
      case $(first "$queue/rotational") in 1) echo yes ;; 0) echo no ;; esac
      return
    fi
  done
}

# disk NUMBER PATH
disk() {
  say "disk.$1.path" "$2"
  if [ ! -d "$R$2" ]; then
    say "disk.$1.exists" no
    return
  fi
  say "disk.$1.exists" yes
  space "disk.$1" "$2" | sed '/\.path=/d'
  number=$1
  found=$(filesystem "$R$2")
  mount_point=$(printf '%s\n' "$found" | sed 's/^.*[0-9]%[[:space:]]*//')
  say "disk.$number.mount" "$mount_point"
  # The last one that is mounted there is the one to be seen.
  source='' kind='' options=''
  while read -r s m k o _; do
    if [ "$(printf '%b' "$m")" = "$mount_point" ]; then source=$s kind=$k options=$o; fi
  done <"$R/proc/self/mounts"
  say "disk.$number.device" "$source"
  say "disk.$number.fstype" "$kind"
  say "disk.$number.options" "$options"
  say "disk.$number.rotational" "$(rotational "$source")"
}

docker_folder() {
  configured=
  if [ -r "$R/etc/docker/daemon.json" ]; then
    configured=$(sed -n 's/.*"data-root"[[:space:]]*:[[:space:]]*"\([^"]*\)".*/\1/p' "$R/etc/docker/daemon.json" | head -n 1)
  fi
  case $configured in /*) printf '%s' "$configured" ;; *) printf '/var/lib/docker' ;; esac
}

main() {
  say inventory 1
  say clock_ms "$(clock)"
  say os "$(os_name)"
  say kernel "$(uname -r)"
  say arch "$(architecture)"
  say cpus "$(getconf _NPROCESSORS_ONLN 2>/dev/null || nproc 2>/dev/null)"
  say memory_bytes "$(meminfo MemTotal)"
  say swap_bytes "$(meminfo SwapTotal)"
  say user "$(id -un)"
  say privilege "$(privilege)"
  say docker_socket "$(docker_socket)"
  control_groups
  say virtual "$(virtual)"
  say governors "$(governors)"
  limits
  for name in vm.overcommit_memory vm.swappiness net.core.somaxconn fs.file-max vm.max_map_count; do
    say "sysctl.$name" "$(first "$R/proc/sys/$(printf '%s' "$name" | tr . /)")"
  done
  say hugepages "$(first "$R/sys/kernel/mm/transparent_hugepage/enabled" | sed -n 's/.*\[\([a-z]*\)\].*/\1/p')"
  if has numactl; then say numactl yes; else say numactl no; fi
  folder=${1:-}
  [ -n "$folder" ] || folder=$(docker_folder)
  space docker "$folder"
  [ $# -eq 0 ] || shift
  count=0
  for path in "$@"; do
    disk "$count" "$path"
    count=$((count + 1))
  done
  say end 1
}

main "$@" </dev/null
