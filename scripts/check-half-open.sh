#!/usr/bin/env bash
# A tunnel whose link dies in silence: packets vanish, and nobody is told.
#
#   scripts/check-half-open.sh NODE HUB CLIENT
#
# Node and hub run in two network namespaces with a cable between them, which is pulled at the hub's end. Prints how long
# each took to see it, and how long the node took to serve again once the cable was back. Needs root, or a user who may make
# namespaces, and `ip` (Debian: iproute2).
set -euo pipefail

if [[ ${1:-} != --inside ]]; then
  node=$(realpath "$1") hub=$(realpath "$2") client=$(realpath "$3")
  exec unshare --map-root-user --net --mount --pid --fork --kill-child --mount-proc \
    bash "$0" --inside "$node" "$hub" "$client"
fi
node=$2 hub=$3 client=$4

# Most seconds that anything may take: the node asks a silent hub for a minute.
patience=90
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

fail() {
  printf 'failed: %s\n' "$*" >&2
  tail -n 20 "$work"/*.log >&2
  exit 1
}

# Waits until a command succeeds; prints the seconds.
until_it() { # WHAT COMMAND...
  local what=$1 began=${EPOCHREALTIME/./}
  shift
  until "$@" >/dev/null 2>&1; do
    ((${EPOCHREALTIME/./} - began < patience * 1000000)) || fail "$what: not within $patience s"
    sleep 0.05
  done
  printf 'ok: %s after %d ms\n' "$what" $(((${EPOCHREALTIME/./} - began) / 1000))
}

# The node's namespace; this one is the hub's.
unshare --net sleep infinity &
apart=$!
# `unshare` runs the command in its own place, once it has the namespace.
until [[ $(readlink "/proc/$apart/ns/net") != "$(readlink /proc/$$/ns/net)" ]]; do sleep 0.05; done
there() {
  nsenter --net="/proc/$apart/ns/net" "$@"
}
ip link add cable type veth peer name other netns "$apart"
ip address add 10.99.0.1/24 dev cable
ip link set cable up
ip link set lo up
there ip address add 10.99.0.2/24 dev other
there ip link set other up

mkdir "$work/data" "$work/export"
echo shown >"$work/export/file"
"$hub" --bind 10.99.0.1 --port 18790 --data-dir "$work/data" >"$work/hub.log" 2>&1 &
export SPIDERWEB_HUB=ws://10.99.0.1:18790/ SPIDERWEB_HUB_TOKEN_FILE=$work/data/auth_tokens.json
until_it 'the hub listens' "$client" hub nodes
"$client" hub invite create >"$work/invite" 2>/dev/null
sed -n 's/.*"node_token": *"\([^"]*\)".*/\1/p' "$SPIDERWEB_HUB_TOKEN_FILE" >"$work/token"
there "$node" --control-url "$SPIDERWEB_HUB" --control-auth-token-file "$work/token" \
  --invite-token-file "$work/invite" --node-name edge --state-file "$work/node.json" --export "work=$work/export:rw" \
  --reconnect-backoff-ms 1000 >"$work/node.log" 2>&1 &
shows() { "$client" --timeout 2s cat /nodes/edge/work/file; }
until_it 'the node serves' shows

ip link set cable down
sees() { grep -q "$1" "$2"; }
until_it 'the hub sees that the link is dead' sees 'tunnel is down' "$work/hub.log"
until_it 'the node sees it, too,' sees 'control tunnel disconnected' "$work/node.log"
ip link set cable up
until_it 'the node serves again, with the cable back,' shows
