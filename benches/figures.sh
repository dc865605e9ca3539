#!/usr/bin/env bash
# Prints the figures of docs/benchmarking.md on this machine: `bash benches/figures.sh [SECONDS PER ROW]`.
#
# Starts a node of its own on a temporary folder and stops it again. Everything is measured with `spiderweb bench`;
# absolute figures move by a third from run to run, so compare what one run printed.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

seconds=${1:-3}
cargo build --release --quiet -p spiderweb-fs-node -p spiderweb
target=${CARGO_TARGET_DIR:-target}/release
folder=$(mktemp -d)
log=$folder.log
trap 'kill "$node" 2>/dev/null || true; rm -rf "$folder" "$log"' EXIT

mkdir "$folder/work" "$folder/large"
files=${FILES:-1000000}
echo "== a folder of $files files"
(cd "$folder/large" && seq -f 'file-%07.0f' "$files" | xargs touch)

echo '== start to listening, ten times, in ms'
for _ in $(seq 10); do
  begin=$(date +%s%N)
  "$target/spiderweb-fs-node" --port 0 --export "work=$folder/work" --export "large=$folder/large" 2>"$log" &
  node=$!
  until grep -q 'listening at' "$log"; do :; done
  echo -n "$((($(date +%s%N) - begin) / 100000))e-1 "
  kill "$node"
  wait "$node" || true
done
echo

"$target/spiderweb-fs-node" --port 0 --export "work=$folder/work" --export "large=$folder/large" 2>"$log" &
node=$!
until grep -q 'listening at' "$log"; do :; done
export SPIDERWEB_URL
SPIDERWEB_URL=$(sed -n 's/.*listening at //p' "$log")
memory() { awk '/VmRSS|VmHWM/ { printf "%s %d KiB  ", $1, $2 } END { print "" }' "/proc/$node/status"; }
bench() {
  echo "-- bench $*"
  "$target/spiderweb" bench --duration "${seconds}s" --pid "$node" "$@" /work
}

echo '== idle memory'
memory
echo '== processor time while idle for five seconds, in ticks of 10 ms'
before=$(cut -d' ' -f14,15 "/proc/$node/stat")
sleep 5
echo "$before -> $(cut -d' ' -f14,15 "/proc/$node/stat")"

echo '== metadata'
bench --op getattr
bench --op getattr --depth 16
bench --op getattr --connections 16 --depth 16
bench --op lookup --connections 16 --depth 16
bench --op open-close --depth 16
bench --op create-unlink --depth 16
bench --op mixed --connections 4 --depth 8
echo '== data'
for block in 4KiB 64KiB 1MiB; do
  bench --op read --depth 16 --block "$block"
  bench --op write --depth 16 --block "$block"
done
bench --op write --connections 16 --depth 16 --block 4KiB
echo '== listings'
bench --op readdirp --entries 10000
memory
echo "-- every page of $files entries"
for _ in 1 2; do
  time "$target/spiderweb" ls /large | wc -l
  memory
done
echo '== getattr beside eight connections that read 1 MiB blocks and one that waits for a lock'
bench --op getattr --background 8 --hold-lock
echo '== many connections'
bench --op getattr --connections 2000
bench --op getattr --idle 1000
bench --op getattr --idle 2000
