#!/bin/sh
# Makes the machine of `make test-cgroup2` from Debian packages and prints its folder: base.sh
# In it: `kernel` (Debian's for cloud machines), `initrd`, which mounts the two disks, and `root.img`, the first of them:
# the smallest Debian with systemd and what the tests of roci ask for. What is tested comes on the second disk.
# Three minutes the first time, then from the cache ($HULL_CACHE, else ~/.cache/hull) until this script, the release or the
# mirror is another; remove the cache's folder machine to have newer packages.
set -eu

fail() {
    echo "machine/base.sh: $*" >&2
    exit 1
}
# The packages cannot be had, which is no fault of what is tested: the harness knows this code.
unavailable() {
    echo "machine/base.sh: $*" >&2
    exit 3
}

[ $# = 0 ] || { echo "usage: base.sh" >&2; exit 2; }
here=$(cd "$(dirname "$0")" && pwd)
folder=${HULL_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/hull}/machine
umask 022
[ -n "$(command -v apt-get || true)" ] || unavailable "apt-get not found: the machine is made from Debian packages"
# shellcheck source=fixtures/debian.sh
. "$here/../../fixtures/debian.sh"

key=$(printf '%s\n' "$release" "$mirror" "$(dpkg --print-architecture)" |
    cat - "$0" "$here/../../fixtures/debian.sh" | sha256sum | cut -c 1-16)
made=$folder/$key
mkdir -p "$folder"
# One maker, which holds this while anything of it lives.
exec 9>"$folder/lock"
flock 9

# The kernel that the package for cloud machines stands for; its own name changes with each security update.
unpack_kernel() (
    cd "$work"
    package=$(apt-cache depends linux-image-cloud-amd64 | sed -n 's/.*Depends: \(linux-image-[^ ]*\)/\1/p' | head -n 1)
    [ -n "$package" ] || unavailable "apt knows no linux-image-cloud-amd64: apt-get update"
    # apt fetches as a user of its own, who may not write here, and says so.
    apt-get download --quiet "$package" || unavailable "cannot download $package"
    mkdir package
    dpkg-deb --extract "$package"_*.deb package
    cp package/boot/vmlinuz-* kernel
    mv package/lib/modules "$root/lib/modules"
    chroot "$root" depmod "$(ls "$root/lib/modules")"
)

# A file system in memory that brings the disks up. Its modules are those of the kernel, in the order of their dependencies.
make_initrd() (
    version=$(ls "$root/lib/modules")
    mkdir -p "$work/initrd/bin" "$work/initrd/dev" "$work/initrd/proc" "$work/initrd/sys" "$work/initrd/new"
    cp "$root/bin/busybox" "$work/initrd/bin/busybox"
    {
        echo '#!/bin/busybox sh'
        echo 'set -e'
        echo 'busybox mount -t devtmpfs none /dev'
        for module in virtio_pci virtio_blk; do
            chroot "$root" modprobe --set-version "$version" --show-depends "$module"
        done | sed -n 's/^insmod \([^ ]*\).*/\1/p' | awk '!seen[$0]++' | while read -r file; do
            cp "$root$file" "$work/initrd/"
            echo "busybox insmod /${file##*/}"
        done
        # The disks appear a moment after their driver.
        echo 'until [ -b /dev/vda ] && [ -b /dev/vdb ]; do busybox sleep 0.1; done'
        echo 'busybox mount -t ext4 /dev/vda /new'
        echo 'busybox mount -t ext4 -o ro /dev/vdb /new/srv'
        echo 'busybox umount /dev'
        echo 'exec busybox switch_root /new /lib/systemd/systemd "$@"'
    } >"$work/initrd/init"
    chmod 755 "$work/initrd/init"
    cd "$work/initrd"
    find . | busybox cpio -o -H newc 2>/dev/null | gzip -1 >"$work/disk/initrd"
)

# What nobody needs there takes time at each start, and systemd is to leave every controller where it finds it: it would
# take those away again that none of its own units has a limit for.
configure() (
    cd "$root"
    rm -rf var/lib/apt/lists/* var/cache/apt/* usr/share/doc/* usr/share/man/* usr/share/locale/*
    rm -f etc/systemd/system/timers.target.wants/* etc/resolv.conf
    for unit in systemd-hwdb-update systemd-journal-catalog-update systemd-update-done systemd-pcrphase systemd-firstboot; do
        ln -sf /dev/null "etc/systemd/system/$unit.service"
    done
    echo machine >etc/hostname
    echo 0123456789abcdef0123456789abcdef >etc/machine-id
    mkdir -p etc/systemd/system.conf.d
    printf '[Manager]\nDefault%sAccounting=yes\n' CPU >etc/systemd/system.conf.d/hull.conf
    for controller in IO Memory Tasks; do
        echo "Default${controller}Accounting=yes" >>etc/systemd/system.conf.d/hull.conf
    done
    cat >etc/systemd/system/hull-tests.service <<'END'
[Unit]
Description=Tests of roci
After=dbus.socket
Requires=dbus.socket
[Service]
Type=oneshot
ExecStart=/srv/guest.sh
StandardOutput=journal+console
StandardError=journal+console
TasksMax=infinity
FailureAction=poweroff
SuccessAction=poweroff
END
)

make_machine() {
    [ "$(id -u)" = 0 ] || fail "debootstrap needs root"
    for program in debootstrap mke2fs busybox; do
        [ -n "$(command -v $program || true)" ] || fail "$program not found"
    done
    echo "machine/base.sh: making a machine from Debian $release: three minutes, once" >&2
    # Not in the temporary folder, which may forbid devices and programs.
    rm -rf "$folder"/making-*
    work=$(mktemp -d "$folder/making-XXXXXX")
    trap 'rm -rf "$work"' EXIT
    trap 'exit 130' HUP INT TERM
    root=$work/root
    packages=systemd-sysv,dbus,kmod,busybox-static,iptables,iproute2,procps,libseccomp2
    bootstrap "$root" "$packages" >"$work/log" 2>&1 || {
        tail -n 20 "$work/log" "$root/debootstrap/debootstrap.log" >&2 2>/dev/null || true
        unavailable "debootstrap failed"
    }
    mkdir "$work/disk"
    unpack_kernel >&2
    make_initrd
    configure
    # Sparse: what is not used takes no place.
    mke2fs -q -t ext4 -d "$root" "$work/disk/root.img" 3G >"$work/log"
    mv "$work/kernel" "$work/disk/kernel"
    # Those of other branches may be in use, and would be made again.
    find "$folder" -maxdepth 1 -name '[0-9a-f]*' -mtime +7 -exec rm -rf {} +
    mv "$work/disk" "$made"
}

[ -e "$made" ] || make_machine
touch "$made"
echo "$made"
