#!/bin/sh
# From a Dockerfile to a running service and back to a clean machine: demo.sh BIN_DIR LEAK_CHECK
# Each command is printed before its output. Store and state are temporary and removed at the end.
set -eu
cd "$(dirname "$0")/../.."

[ $# = 2 ] || { echo "usage: demo.sh BIN_DIR LEAK_CHECK" >&2; exit 2; }
[ "$(id -u)" = 0 ] || { echo "demo.sh: containers need root: run it as root" >&2; exit 1; }
bin=$(cd "$1" && pwd)
leak_check=$(cd "$(dirname "$2")" && pwd)/$(basename "$2")
PATH=$bin:$PATH

before=$(mktemp)
"$leak_check" before "$before"
work=$(mktemp -d "${TMPDIR:-/tmp}/hull-demo-XXXXXX")
export HULL_ROOT="$work/root" HULL_STATE="$work/state"
service=

finish() {
    status=$?
    trap - EXIT
    [ -z "$service" ] || { kill "$service" 2>/dev/null; wait "$service" 2>/dev/null; } || true
    rm -rf "$work"
    if ! "$leak_check" after "$before"; then
        status=1
    fi
    rm -f "$before"
    [ "$status" = 0 ] || echo "demo.sh: failed" >&2
    exit "$status"
}
trap finish EXIT
trap 'exit 130' INT TERM

bold='' plain=''
if [ -t 1 ]; then
    bold=$(printf '\033[1m') plain=$(printf '\033[0m')
fi
say() {
    printf '\n%s$ %s%s\n' "$bold" "$*" "$plain"
}
run() {
    say "$@"
    "$@"
}

if busybox wget -qO- http://127.0.0.1:8888/health >/dev/null 2>&1; then
    echo "demo.sh: something else answers on port 8888 already" >&2
    exit 1
fi

run fixtures/busybox/rootfs.sh "$work/busybox.tar"
run rrun import "$work/busybox.tar" busybox
run rbuild -t register:0.0.1 fixtures/register
run rrun images

say 'rrun run --rm --network host register:0.0.1 &'
rrun run --rm --network host register:0.0.1 &
service=$!
tries=0
until busybox wget -qO- http://127.0.0.1:8888/health >/dev/null 2>&1; do
    tries=$((tries + 1))
    [ "$tries" -lt 100 ] || { echo "demo.sh: the service does not answer on port 8888" >&2; exit 1; }
    sleep 0.1
done
run busybox wget -qO- --post-data=10.0.0.7:80 'http://127.0.0.1:8888/services/shop/one?ttl=30'
run busybox wget -qO- http://127.0.0.1:8888/services
echo
say "kill -TERM $service"
kill -TERM "$service"
status=0
wait "$service" || status=$?
service=
echo "exit code $status"

# shellcheck disable=SC2016 # expanded in the container
say "rrun run --rm --network none busybox sh -c 'id; hostname; cat /proc/self/cgroup'"
rrun run --rm --network none busybox sh -c 'id; hostname; cat /proc/self/cgroup'

run rrun system check
echo
