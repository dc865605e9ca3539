#!/usr/bin/env bash
# Runs a Windows program under Wine: CARGO_TARGET_X86_64_PC_WINDOWS_GNU_RUNNER=$PWD/scripts/wine-runner.sh cargo test …
#
# CROSS_WINE_SHIM is a DLL that this Wine lacks; it is put beside the program.
set -euo pipefail
wine=$(command -v wine64 || command -v wine) || { echo 'there is neither wine64 nor wine in PATH' >&2; exit 1; }
if [[ -n ${CROSS_WINE_SHIM:-} ]]; then
  cp --update "$CROSS_WINE_SHIM" "$(dirname "$1")/"
fi
export WINEDEBUG=${WINEDEBUG:--all}
exec "$wine" "$@"
