#!/usr/bin/env bash
# compose-test.sh: run docker-compose.yml for real, with three workers, and see that it does its work.
#
# Usage: make build && scripts/compose-test.sh
#
# It makes Berth's image from bin/berth, starts the whole project under a name of its own on free ports, creates
# six Redis instances through the client verbs, checks that they run and that more than one worker had a part
# in it, deletes them, and checks that nothing of them is left. It ends with 0 only when all of that held.
#
# It owns the compose project, the image and the instances that it made, and takes all of them away again,
# whatever happens. Settings: BERTH_BIN (bin/berth), BERTH_COMPOSE_TEST_WAIT (seconds until ready, 120),
# BERTH_COMPOSE_TEST_PARTS=backing (only MySQL and Redis: needs no binary), BERTH_COMPOSE_TEST_BARE=yes (on images without volumes), BERTH_COMPOSE_TEST_PORTS (LOW-HIGH, what
# instances' ports are taken from; two hundred somewhere between 22000 and 29999).
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=scripts/apt.sh
. "$here/apt.sh"
root=$(cd "$here/.." && pwd)

berth=${BERTH_BIN:-$root/bin/berth}
ready_wait=${BERTH_COMPOSE_TEST_WAIT:-120}
parts=${BERTH_COMPOSE_TEST_PARTS:-all}
bare=${BERTH_COMPOSE_TEST_BARE:-no}
first_port=$((22000 + RANDOM % 78 * 100))
ports=${BERTH_COMPOSE_TEST_PORTS:-$first_port-$((first_port + 199))}
compose_wait=300 # seconds that one call of compose may take: `up` waits for the schema
instances=6
workers=3

docker_host=${BERTH_DOCKER_HOST:-${DOCKER_HOST:-unix:///var/run/docker.sock}}
case $docker_host in
  unix://*) ;;
  *) die "this test needs a Docker engine on this machine (a unix socket), not $docker_host" ;;
esac

# The settings of whoever calls us are not those of the project under test.
for name in $(compgen -e BERTH_) $(compgen -e COMPOSE_); do unset "$name"; done
export DOCKER_HOST=$docker_host

project="berth-test-$$-$RANDOM"
image="berth/berth:$project"
work=$(mktemp -d "${TMPDIR:-/tmp}/$project.XXXXXX")
env_file=$work/.env
started=no
ids=()
deployment=''
passed=no

compose() {
  timeout -k 10 "$compose_wait" "$here/compose.sh" -p "$project" --env-file "$env_file" "$@"
}

# Everything of the deployment under test, or of one of its instances: label=VALUE.
containers_with() { docker ps -aq --no-trunc --filter "label=$1"; }
volumes_with() { docker volume ls -q --filter "label=$1"; }

tear_down() {
  local left
  trap - EXIT INT TERM
  if [ "$started" = yes ]; then
    if [ "$passed" = no ]; then
      say "what the project said last:"
      compose ps >&2 || true
      compose logs --no-color --tail=40 >&2 || true
    fi
    compose stop -t 10 worker >/dev/null 2>&1 || true
    # What a failed run left of its instances.
    if [ -n "$deployment" ]; then
      left=$(containers_with "berth.deployment=$deployment")
      # shellcheck disable=SC2086
      [ -z "$left" ] || docker rm -fv $left >/dev/null 2>&1 || true
      left=$(volumes_with "berth.deployment=$deployment")
      # shellcheck disable=SC2086
      [ -z "$left" ] || docker volume rm -f $left >/dev/null 2>&1 || true
    fi
    compose down -v --remove-orphans -t 5 >/dev/null 2>&1 || say "the project $project could not be taken down; look at docker ps"
  fi
  docker image rm "$image" >/dev/null 2>&1 || true
  [ "$bare" = no ] || docker image rm "berth-test/mysql:$project" "berth-test/redis:$project" >/dev/null 2>&1 || true
  rm -rf "$work"
}
trap tear_down EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# A loopback port that nobody listens on, below the kernel's range for outgoing connections.
taken=' '
free_port() {
  local try
  for try in {1..200}; do
    port=$((30000 + RANDOM % 2700))
    case $taken in *" $port "*) continue ;; esac
    if ! (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then taken+="$port "; return; fi
  done
  die "no free port was found after $try tries"
}

write_env() {
  local http mysql redis
  free_port; http=$port
  free_port; mysql=$port
  free_port; redis=$port
  COMPOSE_PROJECT_NAME=$project BERTH_IMAGE=$image BERTH_HTTP_PORT=$http \
    BERTH_COMPOSE_MYSQL_PORT=$mysql BERTH_COMPOSE_REDIS_PORT=$redis BERTH_PORT_RANGE=$ports \
    BERTH_COMPOSE_DOCKER_SOCKET=${docker_host#unix://} BERTH_WORKER_CONCURRENCY=2 BERTH_LOG_LEVEL=debug \
    "$here/env.sh" "$env_file" 2>/dev/null
}

# bare_image NAME REF CHANGE…: the image of that name without its volumes, as an operator's own may be.
bare_image() {
  local name=$1 from=$2 container change changes=()
  shift 2
  docker image inspect "$from" >/dev/null 2>&1 || from=berth/$from
  for change in "$@"; do changes+=(--change "$change"); done
  container=$(docker create "$from")
  docker export "$container" | docker import "${changes[@]}" --change 'ENTRYPOINT ["docker-entrypoint.sh"]' \
    --change 'ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin' - "berth-test/$name:$project" >/dev/null
  docker rm -v "$container" >/dev/null
}

bare_images() {
  bare_image mysql mysql:9.7 'CMD ["mysqld"]'
  bare_image redis redis:8 'CMD ["redis-server"]' 'WORKDIR /data'
  sed -i -e '/^BERTH_COMPOSE_\(MYSQL\|REDIS\)_IMAGE=/d' "$env_file"
  printf '%s\n' "BERTH_COMPOSE_MYSQL_IMAGE=berth-test/mysql:$project" "BERTH_COMPOSE_REDIS_IMAGE=berth-test/redis:$project" >>"$env_file"
}

setting() { sed -n "s/^$1=//p" "$env_file"; }

# status URL-PATH: the HTTP status, by bash alone; 000 when nobody answers.
status() {
  local line=''
  if exec 3<>"/dev/tcp/127.0.0.1/$(setting BERTH_HTTP_PORT)"; then
    printf 'GET %s HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n' "$1" >&3
    IFS= read -r -t 5 line <&3 || true
    exec 3>&-
  fi 2>/dev/null
  line=${line#HTTP/* }
  printf '%.3s\n' "${line:-000}"
}

# until_true SECONDS WHAT COMMAND…: wait for it, or end with WHAT.
until_true() {
  local deadline=$((SECONDS + $1)) what=$2
  shift 2
  until "$@"; do
    [ "$SECONDS" -lt "$deadline" ] || die "$what"
    sleep 0.3
  done
}

is_ready() { [ "$(status /readyz)" = 200 ]; }
healthy() {
  local id
  id=$(compose ps -q "$1")
  [ -n "$id" ] && [ "$(docker inspect --format '{{.State.Health.Status}}' "$id")" = healthy ]
}

check_backing() {
  local id
  until_true "$ready_wait" "MySQL is not healthy after $ready_wait s" healthy mysql
  until_true "$ready_wait" "Redis is not healthy after $ready_wait s" healthy redis
  id=$(compose ps -q redis)
  [ "$(docker exec "$id" redis-cli CONFIG GET maxmemory-policy | tail -n 1)" = noeviction ] || die "Redis would evict keys"
  [ "$(docker exec "$id" redis-cli CONFIG GET appendonly | tail -n 1)" = yes ] || die "Redis does not write to disk"
  [ "$(docker exec -e REDISCLI_AUTH= "$id" redis-cli PING 2>/dev/null)" != PONG ] || die "Redis lets people in without a password"
  say "MySQL and Redis are healthy"
}

# first_id FILE PREFIX: the first id of that kind in the file; nothing when there is none.
first_id() { grep -oE "$2_[0-9A-Za-z]{26}" "$1" | head -n 1 || true; }

# Fills ids, and deployment as soon as it can be known, so that what we made can be taken away again.
create_all() {
  local n id pids=() failed=0
  for n in $(seq "$instances"); do
    timeout 120 "$berth" create redis --wait -o json >"$work/create.$n" 2>"$work/create.$n.err" &
    pids+=("$!")
  done
  for n in $(seq "$instances"); do
    wait "${pids[$((n - 1))]}" || { failed=1; say "create $n failed: $(tail -n 3 "$work/create.$n.err")"; }
  done
  for n in $(seq "$instances"); do
    id=$(first_id "$work/create.$n" ins)
    [ -n "$id" ] || continue
    ids+=("$id")
    [ -n "$deployment" ] || deployment=$(docker ps -a --filter "label=berth.instance=$id" --format '{{.Label "berth.deployment"}}' | head -n 1)
  done
  [ "$failed" = 0 ] || die "not all instances came to run"
  [ "$(printf '%s\n' "${ids[@]}" | sort -u | grep -c .)" = "$instances" ] || die "$instances creates gave other instances than expected: ${ids[*]}"
  [ -n "$deployment" ] || die "the containers have no label berth.deployment"
}

check_instances() {
  local id
  for id in "${ids[@]}"; do
    [ "$(containers_with "berth.instance=$id" | grep -c .)" = 1 ] || die "$id has not exactly one container"
    "$berth" get "$id" -o json | grep -qE '"state": *"running"' || die "$id does not say that it is running"
  done
  [ "$(containers_with "berth.deployment=$deployment" | grep -c .)" = "$instances" ] || die "there are other containers of this deployment than its $instances instances"
}

# A worker says in its log which jobs it claims: "job claimed". Each create belongs to one of them, and no
# worker may have had them all.
check_shared_work() {
  local n worker busy=0 all=0 count pattern='' log=$work/worker.log
  for n in $(seq "$instances"); do
    pattern+="${pattern:+|}$(first_id "$work/create.$n" job)"
  done
  for worker in $(compose ps -q worker); do
    docker logs "$worker" >"$log" 2>&1
    count=$(grep -F 'job claimed' "$log" | grep -oE "$pattern" | sort -u | grep -c . || true)
    say "worker ${worker:0:12} claimed $count of the $instances creates"
    all=$((all + count))
    [ "$count" = 0 ] || busy=$((busy + 1))
  done
  [ "$all" -ge "$instances" ] || die "the workers say that they claimed $all creates, not $instances"
  [ "$busy" -gt 1 ] || die "only $busy of $workers workers did anything"
}

delete_all() {
  local id n pids=() failed=0
  for id in "${ids[@]}"; do
    timeout 120 "$berth" rm "$id" --wait >"$work/rm.$id" 2>&1 &
    pids+=("$!")
  done
  for n in "${!ids[@]}"; do
    wait "${pids[$n]}" || { failed=1; say "rm ${ids[$n]} failed: $(tail -n 3 "$work/rm.${ids[$n]}")"; }
  done
  [ "$failed" = 0 ] || die "not all instances could be deleted"
}

check_nothing_left() {
  local label left
  for label in "berth.deployment=$deployment" "${ids[@]/#/berth.instance=}"; do
    left=$(containers_with "$label"; volumes_with "$label")
    [ -z "$left" ] || die "after the delete there is still something with the label $label: $left"
  done
}

main() {
  "$here/docker.sh"
  "$here/compose.sh" version >/dev/null
  "$here/images.sh" mysql:9.7 redis:8
  write_env
  [ "$bare" = no ] || bare_images

  if [ "$parts" = backing ]; then
    started=yes
    compose up -d mysql redis >"$work/up.log" 2>&1 || { cat "$work/up.log" >&2; die "compose up failed"; }
    check_backing
    passed=yes
    return 0
  fi

  BERTH_IMAGE=$image "$here/image-berth.sh" "$berth"
  started=yes
  say "starting the project $project with $workers workers"
  compose up -d --no-build --scale "worker=$workers" >"$work/up.log" 2>&1 || { cat "$work/up.log" >&2; die "compose up failed"; }
  check_backing
  until_true "$ready_wait" "the API is not ready after $ready_wait s" is_ready
  [ "$(compose ps -q worker | grep -c .)" = "$workers" ] || die "there are not $workers workers"

  BERTH_URL="http://127.0.0.1:$(setting BERTH_HTTP_PORT)"
  BERTH_API_KEY=$(setting BERTH_ADMIN_KEY)
  export BERTH_URL BERTH_API_KEY

  say "creating $instances Redis instances"
  create_all
  check_instances
  check_shared_work
  say "deleting them"
  delete_all
  check_nothing_left
  passed=yes
  say "ok: $instances instances created, shared by the workers, deleted, nothing left"
}

main
