#!/usr/bin/env bash
# Prints the figures of the hub in docs/benchmarking.md on this machine: `bash benches/hub.sh [SECONDS PER ROW]`.
#
# Starts a hub, a node behind it and one with a listener of its own, on free ports, and stops them again. Direct and
# routed take turns in one run; compare what one run printed. NODES and LARGE (bytes of the larger file) change the size.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

seconds=${1:-3}
nodes=${NODES:-1000}
large=${LARGE:-$((1 << 30))}
echo '== building'
cargo build --release --quiet -p spiderweb-fs-node -p spiderweb-hub-app
cargo bench --quiet --no-run -p spiderweb --bench hub
target=$(realpath "${CARGO_TARGET_DIR:-target}/release")

folder=$(mktemp -d)
started=()
finish() {
  for pid in "${started[@]}"; do
    kill "$pid" 2>/dev/null || true
  done
  wait 2>/dev/null || true
  rm -rf "$folder"
}
trap finish EXIT

echo '== from start to the first routed answer'
cargo bench --quiet -p spiderweb --bench hub -- start

unset SPIDERWEB_URL SPIDERWEB_HUB SPIDERWEB_HUB_TOKEN SPIDERWEB_HUB_DATA
mkdir "$folder/direct" "$folder/routed" "$folder/local"
until_logged() { # LOG WORDS
  until grep -qs "$2" "$1"; do sleep 0.01; done
}
"$target/spiderweb-hub" --port 0 --data-dir "$folder/hub" 2>"$folder/hub.log" &
started+=($!)
hub_pid=$!
until_logged "$folder/hub.log" 'listening at'
hub=$(sed -n 's/.*Hub listening at //p' "$folder/hub.log")
export SPIDERWEB_HUB_TOKEN_FILE=$folder/hub/auth_tokens.json
sed -n 's/.*"admin_token" *: *"\([^"]*\)".*/\1/p' "$SPIDERWEB_HUB_TOKEN_FILE" >"$folder/token"
"$target/spiderweb-fs-node" --port 0 --export "work=$folder/direct" 2>"$folder/direct.log" &
started+=($!)
"$target/spiderweb-fs-node" --control-url "$hub" --control-auth-token-file "$folder/token" --node-name edge \
  --state-file "$folder/edge.json" --export "work=$folder/routed" 2>"$folder/edge.log" &
started+=($!)
node_pid=$!
until_logged "$folder/direct.log" 'listening at'
until_logged "$folder/edge.log" 'tunnel established'
direct=$(sed -n 's/.*listening at //p' "$folder/direct.log")

routed() { "$target/spiderweb" --hub "$hub" --node edge "$@"; }
compare() {
  echo "-- bench --compare $*"
  "$target/spiderweb" --hub "$hub" bench --pairs 10 --slice "$((seconds * 200))ms" --compare "$direct" edge "$@"
}
memory() { awk -v who="$1" '/VmRSS|VmHWM/ { printf "%s %s %d KiB  ", who, $1, $2 } END { print "" }' "/proc/$2/status"; }

echo '== direct (A) and routed (B) in turn'
compare --op getattr
compare --op getattr --depth 16
compare --op getattr --connections 8 --depth 8
for block in 4KiB 128KiB 1MiB; do
  compare --op read --depth 8 --block "$block"
done
compare --op write --depth 8 --block 128KiB
echo '== what the processes of hub and node cost'
for shape in '--op getattr --depth 16' '--op read --depth 8 --block 128KiB'; do
  for pid in "$hub_pid" "$node_pid"; do
    # shellcheck disable=SC2086
    routed bench --no-ceiling --duration "${seconds}s" --pid "$pid" $shape
  done
done
echo '== getattr beside four connections that read 1 MiB blocks through the same tunnel'
routed bench --no-ceiling --duration "${seconds}s" --background 4

copy() { # WORDS BYTES FROM TO
  local begin took
  begin=$(date +%s%N)
  "$target/spiderweb" --hub "$hub" cp "$3" "$4"
  took=$((($(date +%s%N) - begin) / 1000000))
  echo "   $1: $2 bytes in $took ms, $(($2 / 1000 / (took + 1))) MB/s"
}
second_client() {
  while [[ ! -e $folder/enough ]]; do
    routed --output json bench --no-ceiling --warmup 0s --duration 2s /work >>"$folder/second"
  done
}
echo '== files through the tunnel, compared byte by byte, beside a second client that asks for attributes'
for bytes in $((16 << 20)) "$large"; do
  head -c "$bytes" /dev/urandom >"$folder/local/there"
  rm -f "$folder/enough" "$folder/second"
  second_client &
  second=$!
  started+=("$second")
  copy 'to the node' "$bytes" "$folder/local/there" :/nodes/edge/work/there
  copy 'from the node' "$bytes" :/nodes/edge/work/there "$folder/local/back"
  touch "$folder/enough"
  wait "$second"
  cmp "$folder/local/there" "$folder/routed/there"
  cmp "$folder/local/there" "$folder/local/back"
  echo '   both are the same'
  sed -n 's/.*"latency_us":{\([^}]*\)}.*/   getattr meanwhile, µs: \1/p' "$folder/second" | tr -d '"'
done
memory hub "$hub_pid"
memory node "$node_pid"

echo '== many nodes, and a hub that is started again'
cargo bench --quiet -p spiderweb --bench hub -- reconnect "$nodes"
