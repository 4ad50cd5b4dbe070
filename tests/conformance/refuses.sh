#!/bin/sh
# A runtime that refuses everything, so that a group of contest gets to its end and names its cases. Some take the root file
# system's mount away after a container without namespaces, and panic where there is none.
while [ $# -gt 0 ]; do
    if [ "$1" = --bundle ]; then mount --bind "$2/rootfs" "$2/rootfs"; fi
    shift
done
exit 1
