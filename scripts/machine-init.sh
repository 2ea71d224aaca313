#!/bin/sh
# machine-init.sh: the first process of a machine of machine.sh, which ends with it.
#
# Usage: machine-init.sh DIR ROOT NAME TOLD     in new namespaces; TOLD tells machine.sh which process this is
#
# It makes a machine out of the root filesystem, with cgroups below one of its own, a disk of its own
# above the root filesystem, and for Docker's data one that is no overlay, on which Docker could not
# put its own. Then it is the machine's sshd.
set -eu
dir=$1 root=$2 name=$3
eval "$4"
hostname "$name"
mount -t overlay overlay -o "lowerdir=$root,upperdir=$dir/disk,workdir=$dir/work" "$dir/root"
cd "$dir/root"
mkdir -p var/lib/docker .old
mount --bind "$dir/docker" var/lib/docker
mount -t proc proc proc
mount -t sysfs sysfs sys
mount --rbind /dev dev
mount -t tmpfs tmpfs run
mount -t tmpfs tmpfs tmp
mkdir -p run/sshd run/lock
chmod 1777 tmp run/lock

own=berth-$name/machine
unified=no
[ ! -e /sys/fs/cgroup/cgroup.controllers ] || unified=yes
if [ "$unified" = yes ]; then
  mkdir -p "/sys/fs/cgroup/$own"
  echo 0 >"/sys/fs/cgroup/$own/cgroup.procs"
else
  mount -t tmpfs tmpfs sys/fs/cgroup
  for group in /sys/fs/cgroup/*/cgroup.clone_children; do
    group=${group%/*} group=${group##*/}
    mkdir -p "/sys/fs/cgroup/$group/$own" "sys/fs/cgroup/$group"
    if [ "$group" = cpuset ]; then
      for file in cpuset.cpus cpuset.mems; do
        cat "/sys/fs/cgroup/cpuset/$file" >"/sys/fs/cgroup/cpuset/berth-$name/$file"
        cat "/sys/fs/cgroup/cpuset/$file" >"/sys/fs/cgroup/cpuset/$own/$file"
      done
    fi
    echo 0 >"/sys/fs/cgroup/$group/$own/cgroup.procs"
  done
fi
pivot_root . .old

# Cgroups are seen from where a process is when it gets a namespace for them.
# shellcheck disable=SC2016
exec env -i unified="$unified" password="/.old$dir/password" PATH=/usr/sbin:/usr/bin:/sbin:/bin unshare --cgroup sh -euc '
if [ "$unified" = yes ]; then
  mount -t cgroup2 cgroup2 /sys/fs/cgroup
else
  for group in /sys/fs/cgroup/*/; do
    group=$(basename "$group") option=$group
    [ "$group" != systemd ] || option=none,name=systemd
    mount -t cgroup -o "$option" cgroup "/sys/fs/cgroup/$group"
  done
fi
sed "s/^/root:/" "$password" | chpasswd
umount -l /.old
printf "127.0.0.1 localhost %s\n" "$(hostname)" >/etc/hosts
[ -e /etc/ssh/ssh_host_ed25519_key ] || ssh-keygen -q -t ed25519 -N "" -f /etc/ssh/ssh_host_ed25519_key
exec env -u unified -u password /usr/sbin/sshd -D -e -o PermitRootLogin=yes -o PasswordAuthentication=yes -o HostKey=/etc/ssh/ssh_host_ed25519_key
'
