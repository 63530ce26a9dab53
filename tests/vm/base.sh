#!/bin/bash
# base.sh DIRECTORY: the disk image of a Debian 12 host as its installer would leave it, with Docker, NFS and systemd:
# root.img, vmlinuz and initrd in DIRECTORY. Nothing of this project is in it.
set -euo pipefail
to=$1
work=$(mktemp -d "$to/making.XXXXXX")
trap 'rm -rf "$work"' EXIT
root=$work/root

packages=(
    systemd-sysv dbus udev kmod procps initramfs-tools zstd linux-image-cloud-amd64
    docker.io apparmor nfs-kernel-server nfs-common xfsprogs iproute2 iptables nftables
    python3 ca-certificates busybox-static
)
mmdebstrap --quiet --variant=minbase --include="$(IFS=,; echo "${packages[*]}")" \
    --aptopt='Acquire::Languages "none"' --dpkgopt='path-exclude=/usr/share/doc/*' \
    --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*' bookworm "$root"

# What is needed until the root file system is there, and no more: an emulated CPU unpacks it.
printf '%s\n' virtio_pci virtio_blk ext4 crc32c_generic >>"$root/etc/initramfs-tools/modules"
sed -i 's/^MODULES=.*/MODULES=list/; s/^COMPRESS=.*/COMPRESS=lz4/' "$root/etc/initramfs-tools/initramfs.conf"
chroot "$root" update-initramfs -u >/dev/null 2>&1 || chroot "$root" update-initramfs -u

echo vm >"$root/etc/hostname"
printf '127.0.0.1 localhost\n127.0.1.1 vm\n' >"$root/etc/hosts"
: >"$root/etc/machine-id"
cat >"$root/etc/fstab" <<'FSTAB'
LABEL=root   /               ext4 errors=remount-ro 0 1
LABEL=docker /var/lib/docker xfs  pquota            0 0
LABEL=build  /mnt/build      ext4 ro                0 0
FSTAB
mkdir -p "$root/mnt/build" "$root/var/lib/docker"

cat >"$root/etc/systemd/network/lan.network" <<'NETWORK'
[Match]
Driver=virtio_net
[Network]
Address=10.0.2.15/24
Gateway=10.0.2.2
NETWORK

# What is run once the machine is up comes with the disk that has this build.
cat >"$root/etc/systemd/system/checks.service" <<'UNIT'
[Unit]
Description=Checks of the build
RequiresMountsFor=/mnt/build /var/lib/docker
[Service]
ExecStart=/usr/bin/python3 -B /mnt/build/checks/main.py
# Their end is told by the port; nothing that they started outlives the machine.
KillMode=process
[Install]
WantedBy=multi-user.target
UNIT
# A shell on the second serial port, for people.
mkdir -p "$root/etc/systemd/system/serial-getty@ttyS1.service.d"
cat >"$root/etc/systemd/system/serial-getty@ttyS1.service.d/root.conf" <<'UNIT'
[Service]
ExecStart=
ExecStart=-/sbin/agetty --autologin root --noclear %I dumb
UNIT
# It mounts from itself: what has such a mount begins after the server, and ends before it.
mkdir -p "$root/etc/systemd/system/docker.service.d"
printf '[Unit]\nAfter=nfs-server.service\n' >"$root/etc/systemd/system/docker.service.d/nfs.conf"
chroot "$root" systemctl --quiet enable systemd-networkd.service checks.service serial-getty@ttyS1.service
# What would run on its own and only take time.
chroot "$root" systemctl --quiet mask apt-daily.timer apt-daily-upgrade.timer e2scrub_all.timer fstrim.timer \
    dpkg-db-backup.timer e2scrub_reap.service systemd-pstore.service nfs-blkmap.service getty@tty1.service

cp "$root"/boot/vmlinuz-* "$work/vmlinuz"
cp "$root"/boot/initrd.img-* "$work/initrd"
rm -rf "$root"/boot/* "$root"/var/cache/apt "$root"/var/lib/apt/lists
truncate -s 4G "$work/root.img"
mkfs.ext4 -q -L root -d "$root" "$work/root.img"
mv "$work/vmlinuz" "$work/initrd" "$work/root.img" "$to/"
