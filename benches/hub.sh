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
  for who in hub node; do
    pid=${who}_pid
    echo "-- $shape; processor and memory are the $who's"
    # shellcheck disable=SC2086
    routed bench --no-ceiling --duration "${seconds}s" --pid "${!pid}" $shape
  done
done
echo '== getattr beside four connections that read 1 MiB blocks through the same tunnel'
routed bench --no-ceiling --duration "${seconds}s" --background 4

copy() { # TIMES BYTES FROM TO
  local begin took
  begin=$(date +%s%N)
  for _ in $(seq "$1"); do
    "$target/spiderweb" --hub "$hub" cp "$3" "$4"
  done
  took=$((($(date +%s%N) - begin) / 1000000))
  echo "   $1 times $2 bytes in $took ms, $(($1 * $2 / 1000 / (took + 1))) MB/s"
}
second_client() {
  until [[ -e $folder/enough ]]; do
    routed --output json bench --no-ceiling --warmup 1ms --duration 1s /work >>"$folder/second"
  done
}
beside_second_client() { # WORDS COMMAND…
  echo "-- $1"
  shift
  rm -f "$folder/enough" "$folder/second"
  second_client &
  local second=$!
  started+=("$second")
  "$@"
  touch "$folder/enough"
  wait "$second"
  echo '   getattr of a second client meanwhile, second by second, in µs:'
  sed -n 's/.*"latency_us":{\([^}]*\)}.*/      \1/p' "$folder/second" | tr -d '"'
}
echo '== files through the tunnel, compared byte by byte'
for size in "20 $((16 << 20))" "1 $large"; do
  read -r times bytes <<<"$size"
  head -c "$bytes" /dev/urandom >"$folder/local/there"
  beside_second_client 'to the node' copy "$times" "$bytes" "$folder/local/there" :/nodes/edge/work/there
  beside_second_client 'from the node' copy "$times" "$bytes" :/nodes/edge/work/there "$folder/local/back"
  cmp "$folder/local/there" "$folder/routed/there"
  cmp "$folder/local/there" "$folder/local/back"
  echo '   all are the same'
done
memory hub "$hub_pid"
memory node "$node_pid"

echo '== many nodes, and a hub that is started again'
cargo bench --quiet -p spiderweb --bench hub -- reconnect "$nodes"
