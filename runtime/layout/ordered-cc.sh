#!/bin/sh
# The linker of roci: cc, which also puts the functions that roci calls on its measured ways side by side, in the order of
# their first call. The kernel maps the program's file in pieces of 64 KB and more around each page that is touched, so
# what is called from everywhere in 4 MB makes nearly all of it resident; side by side it is less than 1 MB.
#
# `functions` beside this file has their names as they stand in the source, because those of the object files have hashes in
# them which change with every compiler and dependency. A name that no object has is of no effect. The list is written
# by `make layout`. Only lld can do this; another linker leaves the functions where they are.
set -eu

here=$(dirname "$0")
lld=
roci=
for argument; do
    case $argument in
    -fuse-ld=lld) lld=yes ;;
    */deps/roci-*.o) roci=yes ;;
    esac
done
if [ -z "$lld" ] || [ -z "$roci" ]; then
    exec cc "$@"
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
for argument; do
    case $argument in
    *.o)
        nm --no-sort --defined-only "$argument" | cut -d' ' -f3- >"$work/symbols"
        nm --no-sort --defined-only --demangle "$argument" | cut -d' ' -f3- | paste "$work/symbols" - >>"$work/names"
        ;;
    esac
done
# What the objects do not have may be in an archive: C's own functions, whose names are their symbols.
awk -F '\t' '
    NR == FNR { symbols[$2] = symbols[$2] $1 "\n"; next }
    $0 in symbols { printf "%s", symbols[$0]; next }
    { print }
' "$work/names" "$here/functions" >"$work/order"
cc "$@" -Wl,--symbol-ordering-file="$work/order" -Wl,--no-warn-symbol-ordering
