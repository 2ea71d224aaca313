#!/usr/bin/env bash
# images.sh: make sure that the engine images are there.
#
# Usage: scripts/images.sh [REF …]          (default: mysql:9.7 redis:8 redis:7)
#
# For each reference: a public image that is here, or Berth's stand-in for it (berth/mysql:9.7 for
# mysql:9.7), is good. Otherwise the public image is pulled; where no registry answers, the stand-in
# is built from Debian's packages with mmdebstrap and `docker import`. A public name is never given
# to a local build.
#
# It owns the images named berth/mysql and berth/redis, and its temporary folder while it runs.
# Settings: BERTH_REGISTRY_WAIT (seconds until a registry must have answered, 10),
# BERTH_PULL_WAIT (seconds for a whole pull, 900), BERTH_IMAGES=build (never pull; build what is missing).
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=scripts/apt.sh
. "$here/apt.sh"
recipes=$here/../deployments/images

# Raise it when a change below must reach machines that have a stand-in already.
recipe=4

default_refs=(mysql:9.7 redis:8 redis:7)
registry_wait=${BERTH_REGISTRY_WAIT:-10}
pull_wait=${BERTH_PULL_WAIT:-900}
registry=unknown # unknown, there, gone
[ "${BERTH_IMAGES:-}" != build ] || registry=gone

work='' # the temporary folder
children=() # background jobs, each the head of its own process group
cleanup() {
  local child sign
  trap '' INT TERM
  # mmdebstrap takes a moment to unmount and clean up behind itself.
  for sign in TERM KILL; do
    for child in "${children[@]}"; do kill "-$sign" -- "-$child" 2>/dev/null || true; done
    for _ in {1..100}; do
      for child in "${children[@]}"; do kill -0 -- "-$child" 2>/dev/null && { sleep 0.1; continue 2; }; done
      break 2
    done
  done
  [ -z "$work" ] || rm -rf --one-file-system "$work" || say "$work could not be removed; remove it by hand"
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

has_image() { docker image inspect "$1" >/dev/null 2>&1; }

# The stand-in counts when it was made by this recipe.
has_stand_in() {
  [ "$(docker image inspect --format '{{index .Config.Labels "berth.image.recipe"}}' "berth/$1" 2>/dev/null)" = "$recipe" ]
}

suite_of() {
  case $1 in
    mysql:9.7) echo sid ;;
    redis:8) echo trixie ;;
    redis:7) echo bookworm ;;
    *) return 1 ;;
  esac
}

need_client() {
  command -v docker >/dev/null 2>&1 && return 0
  can_apt || die "the docker client is missing: install it (on Debian and Ubuntu: apt-get install docker-cli or docker.io)"
  say "installing the docker client"
  apt_lists
  if apt_has docker-cli; then apt_install docker-cli; else apt_install docker.io; fi
}

need_mmdebstrap() {
  command -v mmdebstrap >/dev/null 2>&1 && return 0
  can_apt || die "no registry answers and mmdebstrap is missing: reach a registry, or install mmdebstrap (Debian, Ubuntu), and run this again"
  say "no registry answers; installing mmdebstrap to build the images from Debian's packages"
  apt_install mmdebstrap debian-archive-keyring || die "mmdebstrap could not be installed; see apt's words above"
}

# pull REF: true when the image is here afterwards. A registry that does not answer costs at most
# registry_wait seconds, once.
pull() {
  local ref=$1 out="$work/pull.log" pid started=$SECONDS status=0
  : >"$out"
  set -m
  timeout "$pull_wait" docker pull "$ref" >"$out" 2>&1 </dev/null &
  pid=$!
  set +m
  children+=("$pid")
  while kill -0 "$pid" 2>/dev/null; do
    if [ "$registry" = unknown ] && grep -q 'Pulling from' "$out"; then
      registry=there
      say "pulling $ref"
    fi
    if [ "$registry" = unknown ] && [ $((SECONDS - started)) -ge "$registry_wait" ]; then
      kill -- "-$pid" 2>/dev/null || true
    fi
    sleep 0.1
  done
  wait "$pid" || status=$?
  children=()
  [ "$status" != 0 ] || { registry=there; return 0; }
  if [ "$registry" = there ] || grep -qiE 'manifest unknown|not found|denied|unauthorized' "$out"; then
    say "pulling $ref failed: $(tail -n 1 "$out")"
  else
    registry=gone
  fi
  return 1
}

# What an image can do without: papers, translations, tools of old table kinds. (Perl beyond its
# base goes too, but last: Debian 12 needs it while it is being unpacked.)
lean=()
for path in '/usr/share/doc/*' '/usr/share/man/*' '/usr/share/info/*' '/usr/share/lintian/*' \
  '/usr/share/locale/*' '/usr/share/bash-completion/*' '/usr/lib/*/gconv/*' '/usr/bin/myisam*' '/usr/bin/mysql_migrate_keyring' '/usr/bin/mysqld_multi' \
  '/usr/bin/mysqlslap' '/usr/bin/mysqlimport' '/usr/bin/mysqlpump' '/usr/bin/mysql_secure_installation'; do
  lean+=("--dpkgopt=path-exclude=$path")
done

# In what follows $1 is the root filesystem, a word of mmdebstrap's hooks and not of this script.
# shellcheck disable=SC2016
# bootstrap SUITE PACKAGES USER DATA MODE TAR HOOK…: a root filesystem with the packages, the user (uid
# and gid 999, as in the public images, there before any package can make its own) and the data folder.
bootstrap() {
  local suite=$1 packages=$2 user=$3 data=$4 mode=$5 tar=$6
  shift 6
  local hooks=() hook
  for hook in "$@"; do hooks+=("--customize-hook=$hook"); done
  TMPDIR=$work mmdebstrap --quiet --variant=essential --include="$packages" \
    --aptopt='Acquire::Check-Valid-Until "false"' --aptopt='Acquire::Retries "3"' "${lean[@]}" \
    --essential-hook="echo '$user:x:999:' >>\"\$1/etc/group\"" \
    --essential-hook="echo '$user:x:999:999::$data:/usr/sbin/nologin' >>\"\$1/etc/passwd\"" \
    --customize-hook="mkdir -p \"\$1$data\" && chown 999:999 \"\$1$data\" && chmod $mode \"\$1$data\"" \
    --customize-hook="install -m 0755 '$recipes/$user-entrypoint.sh' \"\$1/usr/local/bin/docker-entrypoint.sh\"" \
    --customize-hook='chroot "$1" dpkg-query -W -f "\${Package} \${Version}\n" "'"${packages%%,*}"'" >"'"$tar.version"'"' \
    "${hooks[@]}" \
    --customize-hook='rm -rf "$1"/usr/share/perl "$1"/usr/lib/*/perl "$1"/usr/lib/*/libperl.so*' \
    --customize-hook='rm -rf "$1"/etc/apt/sources.list* "$1"/var/lib/apt/lists/* "$1"/var/cache/* "$1"/var/log/* "$1"/etc/resolv.conf "$1"/etc/hostname' \
    "$suite" "$tar"
}

# As in the public image, which is not Debian's: sh is bash, and there is no tar.
# shellcheck disable=SC2016
build_mysql() {
  bootstrap sid mysql-server-core,mysql-client-core mysql /var/lib/mysql 1777 "$1" \
    'ln -sf bash "$1/usr/bin/sh" && rm -f "$1/usr/bin/tar"' \
    'mkdir -p "$1/etc/mysql/conf.d" "$1/var/lib/mysql-files" "$1/run/mysqld" && rm -f "$1/etc/my.cnf" "$1/etc/mysql/my.cnf"' \
    'printf "%s\n" "[mysqld]" "datadir=/var/lib/mysql" "socket=/var/run/mysqld/mysqld.sock" "pid-file=/var/run/mysqld/mysqld.pid" "secure-file-priv=/var/lib/mysql-files" "host-cache-size=0" "skip-name-resolve" "[client]" "socket=/var/run/mysqld/mysqld.sock" "!includedir /etc/mysql/conf.d/" >"$1/etc/my.cnf"' \
    'chown 999:999 "$1/var/lib/mysql-files" "$1/run/mysqld" && chmod 0750 "$1/var/lib/mysql-files" && chmod 1777 "$1/run/mysqld"'
}

# The modules that the public image brings since version 8, as file and name.
redis_modules=(redisbloom:bf redisearch:search redistimeseries:timeseries rejson:ReJSON)

# build_modules FOLDER: stand-ins for them.
build_modules() {
  local module
  mkdir -p "$1"
  for module in "${redis_modules[@]}"; do
    "${CC:-gcc}" -shared -fPIC -nostdlib -O2 -Wall -Wextra -Werror -DNAME="\"${module#*:}\"" -o "$1/${module%%:*}.so" "$recipes/redis-module.c"
  done
}

# shellcheck disable=SC2016
build_redis() {
  local modules=()
  if [ "$3" = redis:8 ]; then
    build_modules "$work/modules"
    modules=('mkdir -p "$1/usr/local/lib/redis" && cp -r '"'$work/modules'"' "$1/usr/local/lib/redis/modules" && chmod -R u=rwX,go=rX "$1/usr/local/lib/redis" && chmod 0755 "$1"/usr/local/lib/redis/modules/*.so')
  fi
  bootstrap "$2" redis-server redis /data 0755 "$1" \
    'rm -rf "$1/etc/redis" "$1/var/lib/redis" "$1/etc/init.d/redis-server"' "${modules[@]}"
}

build() {
  local ref=$1 suite=$2 name=${1%%:*} tar="$work/${1/:/-}.tar" log="$work/${1/:/-}.log" started=$SECONDS
  case $name in
    mysql) build_mysql "$tar" >"$log" 2>&1 ;;
    redis) build_redis "$tar" "$suite" "$ref" >"$log" 2>&1 ;;
  esac || { tail -n 15 "$log" | cut -c 1-300 >&2; die "building berth/$ref from Debian's packages failed"; }

  local package version size old changes=()
  old=$(docker image inspect --format '{{.Id}}' "berth/$ref" 2>/dev/null) || old=''
  read -r package version <"$tar.version"
  case $name in
    mysql) changes=(-c 'VOLUME /var/lib/mysql' -c 'EXPOSE 3306 33060' -c 'CMD ["mysqld"]') ;;
    redis) changes=(-c 'VOLUME /data' -c 'WORKDIR /data' -c 'EXPOSE 6379' -c 'CMD ["redis-server"]') ;;
  esac
  docker import -m "Berth's stand-in for $ref" \
    -c 'ENTRYPOINT ["docker-entrypoint.sh"]' \
    -c 'ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin' \
    "${changes[@]}" \
    -c "LABEL org.opencontainers.image.title=\"Berth's stand-in for $ref, built from Debian's packages\"" \
    -c "LABEL org.opencontainers.image.version=\"$version\"" \
    -c "LABEL berth.image.built-from=\"debian/$suite $package $version\"" \
    -c "LABEL berth.image.recipe=\"$recipe\"" \
    "$tar" "berth/$ref" >"$log" 2>&1 || { tail -n 5 "$log" >&2; die "docker import of berth/$ref failed"; }
  rm -f "$tar"
  # What an earlier recipe left goes, unless something still runs on it.
  [ -z "$old" ] || docker image rm "$old" >/dev/null 2>&1 || true
  size=$(docker image inspect --format '{{.Size}}' "berth/$ref")
  say "built berth/$ref from $package $version in $((SECONDS - started)) s, $((size / 1000000)) MB"
}

main() {
  local refs=("$@") missing=() ref pid failed=0
  [ $# -gt 0 ] || refs=("${default_refs[@]}")

  export DOCKER_HOST=${BERTH_DOCKER_HOST:-${DOCKER_HOST:-unix:///var/run/docker.sock}}
  "$here/docker.sh"
  need_client

  exec 9>"$(berth_lock_dir)/images.lock"
  flock 9

  work=$(mktemp -d "${TMPDIR:-/tmp}/berth-images.XXXXXX")
  chmod 0711 "$work"

  for ref in "${refs[@]}"; do
    has_image "$ref" || has_stand_in "$ref" || missing+=("$ref")
  done
  set -- "${missing[@]}"
  missing=()
  for ref in "$@"; do
    [ "$registry" != gone ] && pull "$ref" || missing+=("$ref")
  done
  [ "${#missing[@]}" -gt 0 ] || return 0

  for ref in "${missing[@]}"; do
    suite_of "$ref" >/dev/null || die "$ref could not be pulled, and Berth knows no recipe for it (it has: ${default_refs[*]})"
  done
  need_mmdebstrap
  case " ${missing[*]} " in *' redis:8 '*) "$here/cc.sh" ;; esac
  say "building from Debian's packages: ${missing[*]/#/berth/}"
  for ref in "${missing[@]}"; do
    set -m
    build "$ref" "$(suite_of "$ref")" </dev/null 9>&- &
    children+=("$!")
    set +m
  done
  for pid in "${children[@]}"; do wait "$pid" || failed=1; done
  children=()
  [ "$failed" = 0 ] || die "not all images could be built"
}

main "$@"
