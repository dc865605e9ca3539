#!/usr/bin/env bash
# Runs a Windows program under Wine: CARGO_TARGET_X86_64_PC_WINDOWS_GNU_RUNNER=$PWD/scripts/wine-runner.sh cargo test …
#
# CROSS_WINE_SHIM is a DLL that this Wine lacks; where its configuration does not have it, it is put beside the program.
set -euo pipefail
wine=$(command -v wine64 || command -v wine) || { echo 'there is neither wine64 nor wine in PATH' >&2; exit 1; }
if [[ -n ${CROSS_WINE_SHIM:-} && ! -e ${WINEPREFIX:-$HOME/.wine}/drive_c/windows/system32/${CROSS_WINE_SHIM##*/} ]]; then
  cp --update "$CROSS_WINE_SHIM" "$(dirname "$1")/"
fi
export WINEDEBUG=${WINEDEBUG:--all}
# One start in two thousand finds the heap of Wine's loader, whose place is random, where Wine must have a page of its own
# (0x7ffe0000), and ends with code 1 and, as told above, without a word. Some containers forbid to ask for a fixed place.
if setarch --addr-no-randomize true 2>/dev/null; then
  exec setarch --addr-no-randomize "$wine" "$@"
fi
exec "$wine" "$@"
