# Sourced by the tests of the binary from outside: a temporary folder to work in, and what a command must do.
# `$tundra` and `$failures` are theirs; the output of the last command is in out and err.
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 1
failures=0

bad() { printf 'FAILED: %s\n' "$*"; sed 's/^/    /' out err | head -30; failures=$((failures + 1)); }
expect() {  # expect CODE COMMAND...: runs it, output in out and err
    local want=$1 got; shift
    "$@" >out 2>err; got=$?
    [ "$got" = "$want" ] || bad "exit code $got instead of $want: $*"
}
says() { grep -qF -- "$1" out err || bad "no '$1' in the output of the last command"; }
one_line() { [ "$(grep -c '^tundra: ' err)" = 1 ] || bad "not exactly one line of error"; }
