#!/bin/sh
# Has a host's firewall drop whatever instances begin by themselves: connections to the host
# itself, to other machines, and to what the host publishes. What is published of them is
# reached as before, because answers are not dropped. docs/security.md says what this adds.
#
#   sudo scripts/firewall.sh          adds the rules, and changes nothing where they are
#   sudo scripts/firewall.sh remove   removes them
#
# Run it on each host after Docker has started, and after each boot.
set -eu

bridge=berth+ # its number is 0, or higher where something else has that bridge
action=${1:-add}

rule() { # TABLES CHAIN
  set -- "$1" "$2" -i "$bridge" -m conntrack --ctstate NEW -j DROP
  tables=$1
  shift
  case $action in
    add) "$tables" -C "$@" 2>/dev/null || "$tables" -I "$@" ;;
    remove) while "$tables" -D "$@" 2>/dev/null; do :; done ;;
    *)
      echo "firewall.sh: $action? add or remove" >&2
      exit 2
      ;;
  esac
}

# IPv6 is off in the network of instances, but the host has a link-local address there.
rule iptables INPUT
rule iptables DOCKER-USER
if command -v ip6tables >/dev/null 2>&1 && ip6tables -n -L INPUT >/dev/null 2>&1; then
  rule ip6tables INPUT
  rule ip6tables FORWARD
fi
