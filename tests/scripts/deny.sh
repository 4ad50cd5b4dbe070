#!/bin/sh
# Dependency policy, as deny.toml has it. cargo-deny is built once into the cache; a machine that cannot get it says so.
set -eu
cd "$(dirname "$0")/../.."

version=0.20.2
cache=${XDG_CACHE_HOME:-$HOME/.cache}/hull
tools=$cache/tools/cargo-deny-$version
cargo=${CARGO:-cargo}

if [ ! -x "$tools/bin/cargo-deny" ]; then
    echo "building cargo-deny $version into $tools"
    # Unoptimised: it runs for a second, and compiles three times faster.
    if ! CARGO_TARGET_DIR="$tools/target" CARGO_PROFILE_DEV_DEBUG=0 \
        "$cargo" install cargo-deny --quiet --locked --debug --version "$version" --root "$tools"; then
        echo "skipped: cargo-deny cannot be built here" >&2
        exit 0
    fi
    rm -rf "$tools/target"
fi

"$tools/bin/cargo-deny" --all-features --locked check bans licenses sources

# The advisories live in a git repository: out of reach is not a verdict, so it is told apart from one.
config=$(mktemp)
trap 'rm -f "$config"' EXIT
{
    cat deny.toml
    printf '\n[advisories]\ndb-path = "%s"\n' "$cache/advisories"
} >"$config"
deny() {
    "$tools/bin/cargo-deny" --all-features --locked --config "$config" "$@"
}
if deny fetch db >/dev/null 2>&1; then
    deny check --disable-fetch advisories
else
    echo "skipped: advisory database out of reach"
fi
