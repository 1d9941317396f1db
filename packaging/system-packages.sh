#!/usr/bin/env bash
# Installs the Debian packages that Holdfast and its tests need; as an ordinary user it only says
# which are missing. `--bench` adds the programs that `make bench` measures beside ours.
set -euo pipefail

packages=(
    python3 python3-venv                              # the interpreter that libvirt and libnbd are built for
    python3-libvirt python3-libnbd libnbd-bin         # hypervisor and disk bytes
    libvirt-daemon-system libvirt-clients             # a local KVM host
    qemu-system-x86 qemu-utils                        # guests, qemu-nbd, qemu-img
    nbdkit nbdkit-plugin-python                       # export of restore points
    tzdata                                            # time zones of retention
    bubblewrap util-linux                             # sandbox for guest file systems
    linux-image-cloud-amd64 busybox-static qemu-guest-agent cpio zstd  # the demo's guest
    e2fsprogs xfsprogs btrfs-progs ntfs-3g dosfstools mtools gdisk parted lvm2  # test disks
    chromium fonts-inter                              # tests of the dashboard
    swtpm swtpm-tools ovmf strace git make postgresql # tests
)
[ "${1:-}" = "--bench" ] && packages=(borgbackup restic virtnbdbackup)

# QEMU may only touch what AppArmor lets it; VMs get the rule when they are started next.
allow_scratch() {
    local rules=/etc/apparmor.d/local/abstractions/libvirt-qemu
    [ "$(id -u)" -eq 0 ] && [ -d /etc/apparmor.d/abstractions ] || return 0
    grep -qs "# Holdfast:" "$rules" && return 0
    mkdir -p "${rules%/*}"
    cat "$(dirname "$0")/apparmor-libvirt-qemu" >>"$rules"
}

missing=()
for package in "${packages[@]}"; do
    status=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)
    [ "$status" = installed ] || missing+=("$package")
done
if [ ${#missing[@]} -eq 0 ]; then
    allow_scratch
    exit 0
fi

if [ "$(id -u)" -ne 0 ]; then
    echo "Some Debian packages are missing. Install them as root, then run make again:" >&2
    echo "    apt-get install --no-install-recommends ${missing[*]}" >&2
    exit 1
fi
echo "Installing ${#missing[@]} Debian packages: ${missing[*]}" >&2
export DEBIAN_FRONTEND=noninteractive
log=$(mktemp)
if ! { apt-get update -q && apt-get install -y -q --no-install-recommends "${missing[@]}"; } >"$log" 2>&1; then
    cat "$log" >&2
    exit 1
fi
rm -f "$log"
allow_scratch
