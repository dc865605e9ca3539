#!/usr/bin/env bash
# Builds everything that is shipped for Windows, checks that it is there, and tries it under Wine.
#
#   TARGET              x86_64-windows-gnu, or a triple of Rust with `windows` in it
#   OPTIMIZE            ReleaseSafe, ReleaseFast, ReleaseSmall (the release profile) or Debug
#   PROFILE             cargo's profile, for the tests as well, instead of the one that OPTIMIZE stands for
#   OUT                 where everything goes: dist/windows, the programs in its folder bin
#   RUN_WINE_SMOKE      auto: if there is Wine; 0: no; 1: yes, and without Wine that is an error
#   RUN_WINE_TESTS      1: also run the tests that need no Linux; 0: do not
#   WINE_TEST_PACKAGES  only those of these packages (several words)
#   WINE_TIMEOUT_SECS   longest that a program may take to start or to end under Wine: 20
#
# It needs the target (`rustup target add x86_64-pc-windows-gnu`) and a linker for it (Debian: gcc-mingw-w64-x86-64). Where
# the environment names another compiler (RUSTC) that builds the standard library from source (CROSS_BUILD_STD, what cargo
# needs for that), that one is used; CROSS_WINE_SHIM is a DLL that this Wine lacks.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

target=${TARGET:-x86_64-windows-gnu}
optimize=${OPTIMIZE:-ReleaseSafe}
out=${OUT:-dist/windows}
limit=${WINE_TIMEOUT_SECS:-20}
# Most seconds that all tests may run.
tests_limit=900
# Packages whose tests run on Windows; those that need Linux are left out in their sources. WebAssembly and TLS are left
# out here: what they do has little to do with the system, and building them once more takes longer than all the rest.
portable=(spiderweb-{protocol,transport,daemon,fs,runtime,node,hub,client,driver-sdk,fs-node,hub-app} spiderweb)
[[ -z ${WINE_TEST_PACKAGES:-} ]] || read -ra portable <<<"$WINE_TEST_PACKAGES"

fail() {
  printf '%s\n' "$*" >&2
  exit 1
}

# Runs something for this machine, whatever compiler the environment prepares for others.
for_this_machine() {
  if [[ -n ${CROSS_BUILD_STD:-} ]]; then
    env -u RUSTC -u RUSTC_BOOTSTRAP -u LD_LIBRARY_PATH "$@"
  else
    "$@"
  fi
}

# Says `yes` if something that needs Wine is to be done, or nothing.
wanted() { # VARIABLE VALUE
  case $2 in
    0 | false | no) return ;;
    1 | true | yes) [[ -n $wine ]] || fail "$1=$2 needs wine64 or wine in PATH" ;;
    auto) [[ -n $wine ]] || { echo 'skipped: there is neither wine64 nor wine in PATH' >&2; return; } ;;
    *) fail "$1 must be auto, 0 or 1, not $2" ;;
  esac
  echo yes
}

check_tools() {
  [[ -n ${CROSS_BUILD_STD:-} || -d $(rustc --print sysroot)/lib/rustlib/$triple/lib ]] ||
    fail "There is no standard library for $triple: rustup target add $triple"
  [[ $triple != x86_64-pc-windows-gnu ]] || command -v x86_64-w64-mingw32-gcc >/dev/null ||
    fail "There is no linker for $triple: install x86_64-w64-mingw32-gcc (Debian: gcc-mingw-w64-x86-64)"
}

check_artifacts() {
  local name
  for name in spiderweb-fs-node.exe spiderweb-echo-driver.exe spiderweb-web-search-driver.exe \
    spiderweb-echo-driver-inproc.dll spiderweb-echo-driver-wasm.wasm; do
    [[ -f $out/bin/$name ]] || fail "Missing artifact: $out/bin/$name"
    echo "ok: $out/bin/$name"
  done
}

# Wine with a configuration of its own, which goes with everything that runs in it when this script ends.
start_wine() {
  WINEPREFIX=$(mktemp -d)
  export WINEPREFIX WINEDEBUG=${WINEDEBUG:--all} WINEDLLOVERRIDES='mscoree,mshtml='
  trap stop_wine EXIT
  # Between two programs it would end and start again.
  timeout 20 wineserver -p || true
  # The first program sets it up. `wineboot -i` would do so a second time, and start a second service manager beside the
  # first: each knows half of the services.
  CROSS_WINE_SHIM='' timeout 120 "$runner" cmd /c exit >"$WINEPREFIX/log" 2>&1 ||
    fail "Wine cannot be set up: $(cat "$WINEPREFIX/log")"
  if [[ -n ${CROSS_WINE_SHIM:-} ]]; then
    cp "$CROSS_WINE_SHIM" "$WINEPREFIX/drive_c/windows/system32/"
  fi
}

stop_wine() {
  timeout 20 wineserver -k || true
  timeout 20 wineserver -w || true
  rm -rf "$WINEPREFIX"
}

show_help() {
  local help
  help=$(timeout "$limit" "$runner" "$out/bin/spiderweb-fs-node.exe" --help) ||
    fail "spiderweb-fs-node.exe --help failed under Wine"
  head -n 10 <<<"$help"
}

run_tests() {
  # shellcheck disable=SC2206 # several words
  local tests=(cargo test ${CROSS_BUILD_STD:-} ${PROFILE:+--profile "$PROFILE"} --locked --target "$triple"
    --no-default-features --lib --bins --tests "${portable[@]/#/--package=}")
  "${tests[@]}" --no-run
  export "CARGO_TARGET_${variable}_RUNNER=$runner"
  timeout "$tests_limit" "${tests[@]}" --no-fail-fast
}

[[ $target == *windows* ]] || fail "TARGET must be a Windows target, not $target"
triple=$target
[[ $target != x86_64-windows-gnu ]] || triple=x86_64-pc-windows-gnu
variable=${triple//-/_}
variable=${variable^^}
case $optimize in
  ReleaseSafe | ReleaseFast | ReleaseSmall) profile=release ;;
  Debug) profile=dev ;;
  *) fail "OPTIMIZE must be ReleaseSafe, ReleaseFast, ReleaseSmall or Debug, not $optimize" ;;
esac
profile=${PROFILE:-$profile}
wine=$(command -v wine64 || command -v wine || true)
runner=$PWD/scripts/wine-runner.sh
with_smoke=$(wanted RUN_WINE_SMOKE "${RUN_WINE_SMOKE:-auto}")
with_tests=$(wanted RUN_WINE_TESTS "${RUN_WINE_TESTS:-0}")
check_tools

for_this_machine cargo build --quiet --package xtask
xtask=${CARGO_TARGET_DIR:-target}/debug/xtask
# Two compilers in one folder would evict each other's work.
if [[ -n ${CROSS_BUILD_STD:-} ]]; then
  export CARGO_TARGET_DIR=${CROSS_TARGET_DIR:-${CARGO_TARGET_DIR:-target}/cross}
fi

"$xtask" dist --target "$triple" --profile "$profile" --out "$out"
check_artifacts
[[ -n $with_smoke$with_tests ]] || exit 0
start_wine
if [[ -n $with_smoke ]]; then
  show_help
  # A program that prints without end is a failure, not a full disk.
  (
    ulimit -f $((256 * 1024))
    "$xtask" windows-smoke --dist "$out" --runner "$runner" --timeout-secs "$limit"
  )
fi
if [[ -n $with_tests ]]; then
  run_tests
fi
