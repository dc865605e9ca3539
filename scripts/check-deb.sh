#!/usr/bin/env bash
# Installs, runs, upgrades, removes and purges the Debian package on a clean Debian, without a service manager.
#
#   scripts/check-deb.sh PACKAGE.deb NEWER.deb CLIENT
#
# PACKAGE and NEWER differ in their version; CLIENT is the client program outside of the clean system. Needs root, for
# debootstrap and chroot. The clean system is kept in DEB_ROOT_CACHE (~/.cache/spiderweb-deb), so that only the first run
# fetches it; each run uses a copy.
set -euo pipefail

package=$(realpath "$1")
newer=$(realpath "$2")
client=$(realpath "$3")
suite=${DEB_SUITE:-bookworm}
cache=${DEB_ROOT_CACHE:-$HOME/.cache/spiderweb-deb}
mirror=${DEB_MIRROR:-http://deb.debian.org/debian}
# Long enough for a machine that is busy with something else.
patience=30

ok() {
  printf 'ok: %s\n' "$*"
}

fail() {
  printf 'failed: %s\n' "$*" >&2
  exit 1
}

work=$(mktemp -d)
root=$work/root
node=
clean_up() {
  [[ -z $node ]] || kill -TERM "$node" 2>/dev/null || true
  ! mountpoint --quiet "$root/proc" || umount --lazy "$root/proc"
  rm -rf --one-file-system "$work"
}
trap clean_up EXIT

base=$cache/$suite.tar
if [[ ! -f $base ]]; then
  mkdir -p "$cache"
  debootstrap --variant=minbase "$suite" "$work/base" "$mirror" >"$work/debootstrap.log" || {
    tail -n 20 "$work/debootstrap.log"
    fail "debootstrap of $suite from $mirror"
  }
  tar --create --file "$base.part" --one-file-system --directory "$work/base" .
  mv "$base.part" "$base"
fi
mkdir "$root"
tar --extract --file "$base" --directory "$root"
# What a program finds everywhere.
mount -t proc proc "$root/proc"
[[ -c $root/dev/null ]] || mknod -m 666 "$root/dev/null" c 1 3
[[ -c $root/dev/urandom ]] || mknod -m 666 "$root/dev/urandom" c 1 9
ok "a clean $suite"

inside() {
  chroot "$root" /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin "$@"
}

install() {
  cp "$1" "$root/package.deb"
  inside DEBIAN_FRONTEND=noninteractive dpkg --force-confold --install /package.deb >"$work/dpkg.log" 2>&1 || {
    cat "$work/dpkg.log"
    fail "dpkg --install $1"
  }
}

installed_version() {
  # shellcheck disable=SC2016 # dpkg-query replaces it
  inside dpkg-query --show --showformat '${Version}' spiderweb-fs-node
}

free_port() {
  python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

# Runs the unit's command as its user, with the arguments of its environment file, at a free port.
start() {
  local unit=$root/usr/lib/systemd/system/spiderweb-fs-node.service command user port
  command=$(sed -n 's/^ExecStart=//p' "$unit")
  user=$(sed -n 's/^User=//p' "$unit")
  port=$(free_port)
  # What an earlier one said is not about this one.
  : >"$work/node.log"
  [[ $command == /usr/bin/spiderweb-fs-node\ * && $user == spiderweb ]] || fail "the unit: $user runs $command"
  # The service manager reads the file like a shell does, as far as this file goes.
  chroot --userspec="$user:$user" "$root" /usr/bin/env -i PATH=/usr/bin:/bin HOME=/var/lib/spiderweb \
    /bin/sh -c "set -a
$(cat "$root/etc/spiderweb/node.env")
cd /var/lib/spiderweb
exec $command --port $port" >"$work/node.log" 2>&1 &
  node=$!
  url=ws://127.0.0.1:$port/v2/fs
  for ((waited = 0; waited < patience * 10; waited++)); do
    kill -0 "$node" 2>/dev/null || { cat "$work/node.log"; fail 'the node ended'; }
    ! grep -q 'listening at' "$work/node.log" || return 0
    sleep 0.1
  done
  cat "$work/node.log"
  fail 'the node does not serve'
}

stop() {
  kill -TERM "$node"
  wait "$node" || fail "the node ended with $?"
  node=
}

ask() {
  "$client" --url "$url" "$@"
}

install "$package"
first_version=$(installed_version)
ok "installed $first_version"

for program in spiderweb-fs-node spiderweb-hub spiderweb; do
  inside "/usr/bin/$program" --version >/dev/null || fail "$program does not run on a clean system"
  [[ -f $root/usr/share/man/man1/$program.1.gz ]] || fail "no manual page of $program"
done
[[ -f $root/usr/lib/systemd/system/spiderweb-hub.service ]] || fail 'no unit of the hub'
inside /usr/bin/spiderweb-fs-node check /usr/share/doc/spiderweb-fs-node/examples/services.d/echo.json >/dev/null ||
  fail 'the example manifest is not good'
ok 'programs run, manual pages, units and examples are there'

[[ $(stat --format=%a "$root/etc/spiderweb/node.env") == 640 ]] || fail 'node.env can be read by everybody'
[[ $(stat --format=%a "$root/var/lib/spiderweb-hub") == 700 ]] || fail "the hub's folder can be entered"
ok 'what may hold secrets is closed'

cp "$root/usr/share/doc/spiderweb-fs-node/examples/services.d/echo.json" "$root/etc/spiderweb/services.d/"
start
ask exports | grep -q '\bdata\b' || fail 'the export is not listed'
echo 'written before the upgrade' | ask put - /data/note.txt
grep -q 'before the upgrade' "$root/var/lib/spiderweb/export/note.txt" || fail 'the file is not where it belongs'
[[ $(chroot "$root" stat --format=%U /var/lib/spiderweb/export/note.txt) == spiderweb ]] || fail 'not its user wrote it'
ask invoke echo-main '{"hello":"package"}' | grep -q package || fail 'the example service does not answer'
stop
[[ -f $root/var/lib/spiderweb/node.json.runtime-services.json ]] || fail 'services keep no state'
ok "the unit's command serves as its user, and an example service answers"

echo '# edited by hand' >>"$root/etc/spiderweb/node.env"
# As whoever is in the node's terminal could, just before root upgrades.
chroot --userspec=spiderweb:spiderweb "$root" /bin/sh -c \
  'cd /var/lib/spiderweb && mv export kept && ln -s /etc export'
install "$newer"
[[ $(stat --format=%u:%a "$root/etc") == 0:755 ]] || fail "the upgrade followed a link of the node's user out of its folder"
chroot --userspec=spiderweb:spiderweb "$root" /bin/sh -c 'cd /var/lib/spiderweb && rm export && mv kept export'
second_version=$(installed_version)
inside dpkg --compare-versions "$second_version" gt "$first_version" || fail "$second_version is not newer"
grep -q 'edited by hand' "$root/etc/spiderweb/node.env" || fail 'the edited configuration is lost'
[[ $(stat --format=%a "$root/etc/spiderweb/node.env") == 640 ]] || fail 'the upgrade opened node.env'
start
ask cat /data/note.txt | grep -q 'before the upgrade' || fail 'the file is lost'
stop
ok "upgraded to $second_version: state and edited configuration are kept"

inside dpkg --remove spiderweb-fs-node >/dev/null
[[ ! -e $root/usr/bin/spiderweb-fs-node ]] || fail 'programs are still there'
[[ -f $root/etc/spiderweb/node.env ]] || fail 'the configuration went with the programs'
[[ -f $root/var/lib/spiderweb/export/note.txt ]] || fail 'the state went with the programs'
ok 'removed: configuration and state stay'

inside dpkg --purge spiderweb-fs-node >/dev/null
for gone in /etc/spiderweb/node.env /var/lib/spiderweb /var/lib/spiderweb-hub /var/cache/spiderweb; do
  [[ ! -e $root$gone ]] || fail "$gone is still there"
done
[[ -f $root/etc/spiderweb/services.d/echo.json ]] || fail 'a manifest that was added by hand is gone'
! inside getent passwd spiderweb >/dev/null || fail 'the user is still there'
ok 'purged: state, configuration and users are gone, what others added stays'
