#!/usr/bin/env bash
# Checks that everything that is shipped compiles and links for macOS, on both architectures.
#
#   scripts/check-macos-build.sh
#
# On a Mac it needs `rustup target add aarch64-apple-darwin x86_64-apple-darwin` and nothing else. On other systems it
# also needs zig, which has a C compiler, a linker and the system library for macOS; the frameworks it does not have are
# stood in for by lists of the symbols that we use. What is linked so is not run by anybody.
#
# Variables:
#   TARGETS           triples to build for (default: both)
#   PROFILE           cargo's profile (default: dev)
#   ZIG               how zig is called (default: zig; `python3 -m ziglang` after `pip install ziglang`)
#   CROSS_BUILD_STD   more arguments for cargo, for a compiler without these targets' standard library
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

read -ra targets <<<"${TARGETS:-aarch64-apple-darwin x86_64-apple-darwin}"
read -ra zig <<<"${ZIG:-zig}"
read -ra build_std <<<"${CROSS_BUILD_STD:-}"
profile=${PROFILE:-dev}
packages=(spiderweb-fs-node spiderweb spiderweb-hub-app spiderweb-echo-driver spiderweb-web-search-driver
  spiderweb-echo-driver-inproc)
stubs=$PWD/scripts/macos-stubs
target_dir=${CARGO_TARGET_DIR:-target}
folder=$profile
[[ $profile != dev ]] || folder=debug

fail() {
  printf '%s\n' "$*" >&2
  exit 1
}

# A C compiler and linker for one target that takes what Apple's would be told and zig does not know.
write_compiler() { # FILE ZIG_TARGET
  {
    cat <<'HEAD'
#!/usr/bin/env bash
args=()
while (($#)); do
  case $1 in
    -arch) shift ;;
    -mmacosx-version-min=* | -gfull | --target=* | -Wl,--no-demangle) ;;
    *) args+=("$1") ;;
  esac
  shift
done
HEAD
    # shellcheck disable=SC2016 # for the script that is written
    printf 'exec %s cc -target %s -F %q -L %q "${args[@]}"\n' "${zig[*]@Q}" "$2" "$stubs" "$stubs"
  } >"$1"
  chmod +x "$1"
}

use_zig() { # TARGET
  local tools compiler variable
  tools=$(realpath -m "$target_dir/macos-tools")
  compiler=$tools/$1-cc
  mkdir -p "$tools"
  write_compiler "$compiler" "${1%%-*}-macos"
  variable=${1//-/_}
  export "CC_$variable=$compiler" "CARGO_TARGET_${variable^^}_LINKER=$compiler"
}

architecture_of() { # FILE: as the head of a Mach-O file says
  case $(od -An -tx4 -N8 "$1" | tr -d ' ') in
    feedfacf0100000c) echo aarch64 ;;
    feedfacf01000007) echo x86_64 ;;
    *) echo 'no program for macOS' ;;
  esac
}

check() { # TARGET
  local artifact architecture
  local -a named=()
  for package in "${packages[@]}"; do named+=(--package "$package"); done
  cargo build ${build_std[@]+"${build_std[@]}"} --profile "$profile" --target "$1" "${named[@]}"
  for artifact in spiderweb-fs-node spiderweb spiderweb-hub spiderweb-echo-driver spiderweb-web-search-driver \
    libspiderweb_echo_driver_inproc.dylib; do
    artifact=$target_dir/$1/$folder/$artifact
    [[ -f $artifact ]] || fail "Missing artifact: $artifact"
    architecture=$(architecture_of "$artifact")
    [[ $architecture == "${1%%-*}" ]] || fail "$artifact: expected ${1%%-*}, found $architecture"
    printf 'ok: %s\n' "$artifact"
  done
}

if [[ $(uname -s) != Darwin ]]; then
  "${zig[@]}" version >/dev/null || fail "'${zig[*]}' cannot be run; install zig, or set ZIG to how it is called"
  for target in "${targets[@]}"; do use_zig "$target"; done
fi
for target in "${targets[@]}"; do
  case $target in
    *-apple-darwin) check "$target" ;;
    *) fail "TARGETS: $target is no target of macOS; aarch64-apple-darwin and x86_64-apple-darwin are" ;;
  esac
done
