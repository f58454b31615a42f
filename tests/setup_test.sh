#!/usr/bin/env bash
# scripts/setup.sh on machines that are not this one: programs in front of the PATH play Debian, apt, root and the network.
# Arguments: the binary (not used), the folder of the sources.
set -uo pipefail
setup=$2/scripts/setup.sh
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
failures=0
bad() { printf 'FAILED: %s\n' "$*"; sed 's/^/    /' "$work/out"; failures=$((failures + 1)); }
says() { grep -qF -- "$1" "$work/out" || bad "$case: no '$1'"; }

mkdir "$work/bin" "$work/bare"
for tool in bash cat grep sed; do ln -s "$(command -v $tool)" "$work/bare/$tool"; done
stub() { printf '#!/bin/bash\n%s\n' "$2" >"$work/bin/$1"; chmod +x "$work/bin/$1"; }
stub apt-cache '[ "${@: -1}" != "$ABSENT" ]'
stub dpkg-query 'grep -qx -- "${@: -1}" "$WORK/installed" && echo "install ok installed $OF"'
stub dpkg 'echo amd64'
stub id '[ "$ROOT" = 1 ] && echo 0 || echo 1000'
stub sudo '[ "$SUDO" = 1 ] || exit 1; shift $([ "$1" = -n ] && echo 1 || echo 0); [ "$1" = true ] || ROOT=1 "$@"'
stub apt-get 'echo "apt-get $*" >>"$WORK/log"; [ "$ROOT" = 1 ] && [ "$NETWORK" = 1 ] || exit 100
while [ $# -gt 0 ] && [ "$1" != install ]; do shift; done
for word in "$@"; do case $word in install|-*) ;; "$ABSENT") exit 100 ;; *) echo "$word" >>"$WORK/installed" ;; esac; done'

expect() {  # case, exit code, VARIABLE=value...
    case=$1
    local code=$2
    shift 2
    : >"$work/log"
    env -i WORK="$work" ROOT=0 SUDO=0 NETWORK=0 ABSENT=none OF=amd64 PATH="$work/bin:$PATH" "$@" bash "$setup" test >"$work/out" 2>&1
    local got=$?
    [ $got = $code ] || bad "$case: exit code $got instead of $code"
}
has() { grep -qx -- "$1" "$work/installed" || bad "$case: $1 was not installed"; }

: >"$work/installed"
expect "no root" 1;                         says "install them as root"; says "libturbojpeg0-dev"; says "libgtest-dev"
[ -s "$work/log" ] && bad "no root: apt-get was called"
expect "root without a network" 1 ROOT=1;   says "could not install everything"; says "apt-get install -y g++"
expect "a package that does not exist" 1 ROOT=1 NETWORK=1 ABSENT=libzip-dev;  says "libzip-dev"
expect "optional ones that do not exist" 0 ROOT=1 NETWORK=1 ABSENT=ccache;    has cmake; has libhdf5-dev; has libgtest-dev
expect "optional ones are missing, no root" 0
expect "packages for any architecture" 0 OF=all
expect "libraries for a cross compiler only" 1 OF=arm64;                      says "libzip-dev"
: >"$work/installed"
expect "sudo without a password" 0 SUDO=1 NETWORK=1;                          has cmake; has ccache; has clang-format-14
expect "everything is there" 0 ROOT=1
[ -s "$work/out" ] || [ -s "$work/log" ] && bad "everything is there: it was not silent"
: >"$work/installed"
expect "a system without clang-format-14" 0 ROOT=1 NETWORK=1 ABSENT=clang-format-14;  has clang-format
expect "no Debian" 0 PATH="$work/bare";     says "not a Debian"

[ $failures = 0 ] && echo "setup.sh does what it says" || { echo "$failures failures"; exit 1; }
