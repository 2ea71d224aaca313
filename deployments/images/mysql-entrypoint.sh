#!/bin/bash
# Entrypoint of Berth's stand-in for the public mysql image. It knows the original's main
# variables, each also with _FILE (the name of a file that holds the value):
#
#   MYSQL_ROOT_PASSWORD    root's password, needed for an empty data folder; or
#   MYSQL_ALLOW_EMPTY_PASSWORD, MYSQL_RANDOM_ROOT_PASSWORD   (any value)
#   MYSQL_ROOT_HOST        where root may come from (%)
#   MYSQL_DATABASE         a database to create
#   MYSQL_USER, MYSQL_PASSWORD   a user with all rights on that database
#
# An empty data folder is filled once, by a server that nobody can reach over the network.
set -euo pipefail

note() { printf '%s [Note] [Entrypoint]: %s\n' "$(date -u +%FT%TZ)" "$*"; }
fail() { printf '%s [ERROR] [Entrypoint]: %s\n' "$(date -u +%FT%TZ)" "$*" >&2; exit 1; }

# take NAME: the value of NAME, or what the file named by NAME_FILE holds.
take() {
  local name=$1 file_name="$1_FILE"
  [ -z "${!name:-}" ] || [ -z "${!file_name:-}" ] || fail "both $name and $file_name are set; use one"
  if [ -n "${!file_name:-}" ]; then
    printf -v "$name" '%s' "$(<"${!file_name}")"
  fi
  printf -v "$name" '%s' "${!name:-}"
  unset "$file_name"
}

# quote TEXT: TEXT as an SQL string.
quote() {
  local text=${1//\\/\\\\}
  printf "'%s'" "${text//\'/\'\'}"
}

# identifier TEXT: TEXT as an SQL identifier.
# shellcheck disable=SC2016
identifier() { printf '`%s`' "${1//\`/\`\`}"; }

# The data folder, by the options and files that this start will use.
data_folder() {
  "$@" --verbose --help --log-bin-index=/dev/null 2>/dev/null |
    awk '$1 == "datadir" { $1 = ""; sub(/^ /, ""); folder = $0 } END { print folder }'
}

statements() {
  echo "SET @@SESSION.SQL_LOG_BIN=0;"
  if [ -n "$MYSQL_ROOT_PASSWORD" ]; then
    echo "ALTER USER 'root'@'localhost' IDENTIFIED BY $(quote "$MYSQL_ROOT_PASSWORD");"
  fi
  if [ "$MYSQL_ROOT_HOST" != localhost ]; then
    echo "CREATE USER 'root'@$(quote "$MYSQL_ROOT_HOST") IDENTIFIED BY $(quote "$MYSQL_ROOT_PASSWORD");"
    echo "GRANT ALL ON *.* TO 'root'@$(quote "$MYSQL_ROOT_HOST") WITH GRANT OPTION;"
  fi
  if [ -n "$MYSQL_DATABASE" ]; then
    echo "CREATE DATABASE IF NOT EXISTS $(identifier "$MYSQL_DATABASE");"
  fi
  if [ -n "$MYSQL_USER" ]; then
    echo "CREATE USER $(quote "$MYSQL_USER")@'%' IDENTIFIED BY $(quote "$MYSQL_PASSWORD");"
    if [ -n "$MYSQL_DATABASE" ]; then
      # In a grant, _ and % of a database's name are wildcards unless escaped.
      local pattern=${MYSQL_DATABASE//_/\\_}
      echo "GRANT ALL ON $(identifier "${pattern//%/\\%}").* TO $(quote "$MYSQL_USER")@'%';"
    fi
  fi
}

fill_data_folder() {
  local socket server
  if [ -z "$MYSQL_ROOT_PASSWORD$MYSQL_ALLOW_EMPTY_PASSWORD$MYSQL_RANDOM_ROOT_PASSWORD" ]; then
    fail "the data folder is empty and no root password is given: set MYSQL_ROOT_PASSWORD, MYSQL_ALLOW_EMPTY_PASSWORD or MYSQL_RANDOM_ROOT_PASSWORD"
  fi
  [ "$MYSQL_USER" != root ] || fail "MYSQL_USER is for another user than root; use MYSQL_ROOT_PASSWORD"
  [ -z "$MYSQL_USER" ] || [ -n "$MYSQL_PASSWORD" ] || fail "MYSQL_USER needs MYSQL_PASSWORD"
  if [ -n "$MYSQL_RANDOM_ROOT_PASSWORD" ]; then
    MYSQL_ROOT_PASSWORD=$(head -c 24 /dev/urandom | base64)
    note "GENERATED ROOT PASSWORD: $MYSQL_ROOT_PASSWORD"
  fi

  # Half a data folder would look like a whole one at the next start. What was there before us stays.
  [ -z "$(find "$data" -mindepth 1 -maxdepth 1 ! -name lost+found -print -quit)" ] ||
    fail "$data holds files but no MySQL data; give the server an empty folder"
  trap 'find "$data" -mindepth 1 ! -name lost+found -delete' EXIT
  note "filling the data folder $data"
  "$@" --initialize-insecure

  socket=$(mktemp -u /tmp/first-start.XXXXXX)
  "$@" --skip-networking --mysqlx=OFF --socket="$socket" &
  server=$!
  until mysqladmin --no-defaults -uroot --socket="$socket" ping >/dev/null 2>&1; do
    kill -0 "$server" 2>/dev/null || fail "the server for the first start has ended; see its words above"
    sleep 0.1
  done
  statements | mysql --no-defaults -uroot --socket="$socket"
  kill -TERM "$server"
  wait "$server" || fail "the server for the first start did not end well"
  trap - EXIT
  note "the data folder is filled"
}

main() {
  case ${1:-} in
    ''|-*) set -- mysqld "$@" ;;
  esac
  local word name
  if [ "$1" = mysqld ]; then
    for word in "$@"; do
      case $word in
        --help|-\?|--version|-V|--initialize|--initialize-insecure|--verbose) exec "$@" ;;
      esac
    done
    data=$(data_folder "$@")
    [ -n "$data" ] || { "$@" --verbose --help --log-bin-index=/dev/null >/dev/null || true; fail "mysqld refuses its settings; see its words above"; }
    mkdir -p "$data"

    if [ "$(id -u)" = 0 ]; then
      mkdir -p /run/mysqld
      chown mysql:mysql /run/mysqld
      find "$data" \! -user mysql -exec chown mysql:mysql '{}' +
      exec setpriv --reuid=mysql --regid=mysql --clear-groups -- "$0" "$@"
    fi

    if [ ! -d "$data/mysql" ]; then
      for name in MYSQL_ROOT_PASSWORD MYSQL_ROOT_HOST MYSQL_DATABASE MYSQL_USER MYSQL_PASSWORD \
        MYSQL_ALLOW_EMPTY_PASSWORD MYSQL_RANDOM_ROOT_PASSWORD; do
        take "$name"
      done
      MYSQL_ROOT_HOST=${MYSQL_ROOT_HOST:-%}
      fill_data_folder "$@"
    fi
    unset MYSQL_ROOT_PASSWORD MYSQL_PASSWORD
  fi
  exec "$@"
}

main "$@"
