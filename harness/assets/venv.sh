#!/bin/sh
# Makes .venv in the current directory from requirements.lock, and does nothing where that has been done.
# The marker, written last, holds what the environment was made from; without it the environment is made anew.
set -eu

say() { printf '%s\n' "$*"; }
die() { printf 'setup: %s\n' "$*" >&2; exit 1; }

key=$({ pwd; cat requirements.lock pyproject.toml; } | sha256sum)
ready() { [ -x .venv/bin/python ] && [ "$(cat .venv/ready 2>/dev/null)" = "$key" ]; }

# The lock's wheels are for these versions.
usable() { "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 15))' 2>/dev/null; }
find_python() {
    for python in ${PYTHON:-} python3 python3.14 python3.13 python3.12 python3.11; do
        if command -v "$python" >/dev/null && usable "$python"; then printf '%s' "$python"; return; fi
    done
}
apt_install() {
    command -v apt-get >/dev/null || return 1
    root=
    if [ "$(id -u)" != 0 ]; then
        command -v sudo >/dev/null && sudo -n true 2>/dev/null || return 1
        root='sudo -n'
    fi
    say "setup: installing $*"
    apt="$root env DEBIAN_FRONTEND=noninteractive apt-get -qq -y -o DPkg::Lock::Timeout=300"
    # Empty package lists, as in a fresh container, make the first try fail: its complaint is of no use.
    $apt install --no-install-recommends "$@" >/dev/null 2>&1 || { $apt update && $apt install --no-install-recommends "$@" >/dev/null; }
}

ready && exit 0
command -v flock >/dev/null || die "flock is missing; install the package util-linux"
exec 9>.venv.lock
flock --nonblock 9 || { say "setup: another set-up is making .venv: waiting for it"; flock 9; }
ready && exit 0

free=$(df -Pk . | awk 'NR == 2 { print int($4 / 1000) }')
[ "$free" -ge 300 ] || die "$free MB are free in $(pwd) and the Python packages need 300 MB; free some space, then run make again"

python=$(find_python)
[ -n "$python" ] || { apt_install python3 python3-venv && python=$(find_python); } || true
[ -n "$python" ] || die "no Python 3.11 to 3.14 found; install one, for example: sudo apt-get install python3 python3-venv"
if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
    package=$("$python" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')
    apt_install "$package" || die "Python's venv module is missing; install it, for example: sudo apt-get install $package"
fi

say "setup: Python packages into .venv with $("$python" --version)"
rm -rf .venv
"$python" -m venv .venv || die "the virtual environment could not be made; see the lines above, then run make again"
pip() { .venv/bin/python -m pip --disable-pip-version-check --no-input -q install --no-compile --no-deps "$@"; }
# The lock names everything with its hash: nothing is resolved, nothing is built.
pip --require-hashes --only-binary=:all: -r requirements.lock ||
    die "the Python packages could not be installed; check disk, network and proxy, then run make again"
pip --no-build-isolation --editable . || die "this checkout could not be installed into .venv; see the lines above"
printf '%s' "$key" > .venv/ready.tmp
mv .venv/ready.tmp .venv/ready
