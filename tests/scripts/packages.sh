#!/bin/sh
# Installs the Debian packages that are missing: packages.sh [--optional] PACKAGE...
# Without root, or without apt, it names them and fails; optional ones are only named.
set -eu

optional=false
if [ "${1-}" = --optional ]; then
    optional=true
    shift
fi

missing=
for package; do
    dpkg-query --show --showformat='${Status}\n' "$package" 2>/dev/null | grep -q '^install ok installed$' ||
        missing="$missing $package"
done
[ -n "$missing" ] || exit 0

install() {
    # shellcheck disable=SC2086 # a list of words
    DEBIAN_FRONTEND=noninteractive apt-get install --yes --quiet --no-install-recommends $missing
}

if command -v apt-get >/dev/null && [ "$(id -u)" = 0 ]; then
    echo "installing:$missing"
    # A fresh machine has no package lists, and an old one has stale ones.
    install || { apt-get update --quiet && install; } && exit 0
    echo "packages.sh: apt-get could not install:$missing" >&2
else
    echo "packages.sh: these Debian packages are needed:$missing" >&2
    echo "packages.sh: as root: apt-get install$missing" >&2
fi
$optional
