#!/bin/sh
# Checks every shell script of the project: syntax always, shellcheck where it is installed.
set -eu
cd "$(dirname "$0")/../.."

scripts=$(git ls-files -- '*.sh' .ci/run)
for script in $scripts; do
    sh -n "$script"
done
if command -v shellcheck >/dev/null; then
    # shellcheck disable=SC2086 # a list of words
    shellcheck $scripts
else
    echo "skipped: shellcheck not found"
fi
