#!/usr/bin/env bash
# Prints the figures of services in docs/benchmarking.md on this machine: `bash benches/services.sh [SECONDS PER ROW]`.
#
# Starts a node of its own with the reference drivers, and with drivers that sleep, flood and fork, and stops it again.
# Compare what one run printed.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

seconds=${1:-3}
echo '== one invoke in each runtime, beside a bare process'
cargo build --release --quiet --examples -p spiderweb-runtime
cargo bench --quiet -p spiderweb-runtime --bench invoke

cargo build --release --quiet -p spiderweb-fs-node -p spiderweb -p spiderweb-echo-driver -p spiderweb-echo-driver-inproc
target=$(realpath "${CARGO_TARGET_DIR:-target}/release")
wasm=$PWD/drivers/echo-wasm/prebuilt/spiderweb-echo-driver-wasm.wasm
folder=$(mktemp -d)
trap 'kill "$node" 2>/dev/null || true; wait 2>/dev/null || true; rm -rf "$folder"' EXIT

mkdir "$folder/work" "$folder/services.d"
manifest() {
  printf '{"service_id":"%s","kind":"bench","runtime":%s}\n' "$1" "$2" >"$folder/services.d/$1.json"
}
program() { # ID SCRIPT TIMEOUT
  printf '#!/bin/sh\n%s\n' "$2" >"$folder/$1.sh"
  chmod +x "$folder/$1.sh"
  manifest "$1" "{\"type\":\"native_proc\",\"executable_path\":\"$folder/$1.sh\",\"timeout_ms\":$3}"
}
manifest echo "{\"type\":\"native_proc\",\"executable_path\":\"$target/spiderweb-echo-driver\"}"
library=$target/libspiderweb_echo_driver_inproc.so
manifest echo-inproc "{\"type\":\"native_inproc\",\"library_path\":\"$library\"}"
manifest echo-wasm "{\"type\":\"wasm\",\"module_path\":\"$wasm\"}"
for number in $(seq 64); do
  program "busy-sleeps-$number" 'exec sleep 3600' 1500
done
for number in $(seq 8); do
  program "busy-floods-$number" 'exec cat /dev/zero' 1500
done
for number in $(seq 4); do
  program "busy-forks-$number" "trap '' TERM; for i in 1 2 3; do (trap '' TERM; sleep 3600) & done; sleep 3600" 1500
done

start() {
  rm -f "$folder/log"
  "$target/spiderweb-fs-node" --port 0 --export "work=$folder/work" --services-dir "$folder/services.d" "$@" \
    2>"$folder/log" &
  node=$!
  until grep -qs "listening at" "$folder/log"; do :; done
  SPIDERWEB_URL=$(sed -n 's/.*listening at //p' "$folder/log")
  export SPIDERWEB_URL
}
bench() {
  echo "-- bench $*"
  "$target/spiderweb" bench --no-ceiling --duration "${seconds}s" "$@"
}

start
echo '== invokes through the node'
for service in echo echo-inproc echo-wasm; do
  bench --op invoke --service "$service"
done
echo '== getattr alone, and beside 64 drivers that sleep, 8 that flood and 4 that ignore signals and fork'
bench --op getattr /work
bench --op getattr --invoking busy- /work
echo "drivers left: $(pgrep -fc "$folder/busy-" || true)"
kill "$node"
wait "$node" || true

echo '== invokes whose outcome is on the disk before they are answered'
start --state-file "$folder/node.json"
for service in echo echo-inproc; do
  bench --op invoke --service "$service"
done
