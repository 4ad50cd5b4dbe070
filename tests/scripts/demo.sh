#!/bin/sh
# From a Dockerfile to a service, detached and published, then as a pod, and back to a clean machine:
# demo.sh BIN_DIR LEAK_CHECK CRI_CLIENT
# Each command is printed before its output. Store, state and networks are temporary and removed at the end.
set -eu
cd "$(dirname "$0")/../.."

[ $# = 3 ] || { echo "usage: demo.sh BIN_DIR LEAK_CHECK CRI_CLIENT" >&2; exit 2; }
[ "$(id -u)" = 0 ] || { echo "demo.sh: containers need root: run it as root" >&2; exit 1; }
bin=$(cd "$1" && pwd)
leak_check=$(cd "$(dirname "$2")" && pwd)/$(basename "$2")
cri_client=$(cd "$(dirname "$3")" && pwd)/$(basename "$3")
PATH=$bin:$PATH

before=$(mktemp)
"$leak_check" before "$before"
work=$(mktemp -d "${TMPDIR:-/tmp}/hull-demo-XXXXXX")
export HULL_ROOT="$work/root" HULL_STATE="$work/state"
# Bridges of our own: others on this machine are not touched.
export HULL_BRIDGE_NAME=hull-demo0 HULL_BRIDGE_SUBNET=10.88.200.0/28
pods_bridge=hull-demo1
server=

finish() {
    status=$?
    trap - EXIT
    if [ -n "$server" ]; then
        # Whatever failed half-way: no pod and no container outlives the demo.
        "$cri_client" "$work/rcri.sock" clear >/dev/null 2>&1 || true
        kill "$server" 2>/dev/null || true
        wait "$server" 2>/dev/null || true
    fi
    for container in $(rrun ps -aq 2>/dev/null); do
        rrun rm -f "$container" >/dev/null 2>&1 || true
    done
    for bridge in "$HULL_BRIDGE_NAME" "$pods_bridge"; do
        ip link delete "$bridge" 2>/dev/null || true
    done
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

answers() {
    tries=0
    until busybox wget -qO- "http://$1/health" >/dev/null 2>&1; do
        tries=$((tries + 1))
        [ "$tries" -lt 100 ] || { echo "demo.sh: the service does not answer at $1" >&2; exit 1; }
        sleep 0.1
    done
}

if busybox wget -qO- http://127.0.0.1:8888/health >/dev/null 2>&1; then
    echo "demo.sh: something else answers on port 8888 already" >&2
    exit 1
fi

run fixtures/busybox/rootfs.sh "$work/busybox.tar"
run rrun import "$work/busybox.tar" busybox
run rbuild -t register:0.0.1 fixtures/register
run rrun images

# Detached, with a published port.
run rrun run -d --name register -p 8888:8888 register:0.0.1
answers 127.0.0.1:8888
run busybox wget -qO- --post-data=10.0.0.7:80 'http://127.0.0.1:8888/services/shop/one?ttl=30'
run busybox wget -qO- --post-data=10.0.0.8:80 'http://127.0.0.1:8888/services/shop/two?ttl=30'
run busybox wget -qO- http://127.0.0.1:8888/services
echo
run rrun ps
run rrun logs register
run rrun exec register sh -c 'id; hostname; ps'
run rrun stop register
run rrun ps -a
run rrun rm register

# The same image as a pod, through the socket that a kubelet talks to; nothing is exported or imported.
mkdir "$work/net.d"
cat > "$work/net.d/10-demo.conflist" <<EOF
{"cniVersion": "1.0.0", "name": "demo", "plugins": [
  {"type": "bridge", "bridge": "$pods_bridge", "isGateway": true, "ipMasq": true,
   "ipam": {"type": "host-local", "dataDir": "$work/addresses", "ranges": [[{"subnet": "10.88.200.16/28"}]],
            "routes": [{"dst": "0.0.0.0/0"}]}},
  {"type": "portmap", "capabilities": {"portMappings": true}}]}
EOF
say "rcri --listen unix://$work/rcri.sock --cni-conf-dir $work/net.d &"
rcri --listen "unix://$work/rcri.sock" --cni-conf-dir "$work/net.d" &
server=$!
cri() {
    say "cri-client rcri.sock $*" >&2
    "$cri_client" "$work/rcri.sock" "$@"
}
pod=$(cri run-pod shop)
echo "$pod"
container=$(cri run "$pod" register register:0.0.1)
echo "$container"
address=$(cri ip "$pod")
echo "$address"
answers "$address:8888"
run busybox wget -qO- --post-data=10.0.0.7:80 "http://$address:8888/services/shop/one?ttl=30"
run busybox wget -qO- "http://$address:8888/services"
echo
cri exec "$container" hostname
cri list
run rrun ps -a
cri stop "$container"
cri stop-pod "$pod"
cri remove-pod "$pod"
cri list
say "kill $server"
kill "$server"
wait "$server" || true
server=

run rrun system check
echo
