#!/bin/sh
# What the machine of `make test-cgroup2` does once systemd is up: runs each program in /srv/tests, one after the other, and
# tells on the second serial port how they ended. The last line is what the harness waits for.
exec >/dev/ttyS1 2>&1 </dev/null
stty -F /dev/ttyS1 raw

# The tests look for roci where cargo built it.
roci=$(cat /srv/roci-path)
mkdir -p "${roci%/*}"
cp /srv/roci "$roci"

echo "machine: $(uname -r), $(systemctl --version | head -n 1), cgroup: $(stat -f -c %T /sys/fs/cgroup)"
failed=
while read -r driver name arguments; do
    echo "machine: $name $arguments, $driver driver"
    # shellcheck disable=SC2086 # a list of words
    ROCI_TEST_DRIVER=$driver /srv/tests/"$name" --test-threads=2 --color=never $arguments ||
        failed="$failed $name($driver)"
done </srv/plan

[ -z "$failed" ] || echo "machine: failed:$failed"
echo "machine: ended ${failed:+1}"
