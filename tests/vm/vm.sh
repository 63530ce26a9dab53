#!/bin/bash
# A machine of its own with what this one may not have: systemd, cgroup v2, NFS, and Docker on XFS with quotas. This
# build is installed in it as docs/install.md says, and checked there; see docs/testing-vm.md.
#
#   BIN=target/release (where the binaries are)   SECONDS_MAX=7200   tests/vm/vm.sh
set -euo pipefail
cd "$(dirname "$0")/../.."
BIN=${BIN:-target/release}
target=${CARGO_TARGET_DIR:-target}/vm
mkdir -p "$target"
target=$(cd "$target" && pwd)

# The system, as often as what it is made by changes, and once in thirty days for what Debian has mended since.
key=$(sha256sum tests/vm/base.sh | cut -c1-16)
base=$target/base-$key
exec 9>"$target/lock"
flock 9
if [ ! -e "$base/root.img" ] || [ -n "$(find "$base/root.img" -mtime +30)" ]; then
    echo "making a Debian 12 with Docker, NFS and systemd (some minutes, once)"
    rm -rf "$target"/base-*
    mkdir "$base"
    tests/vm/base.sh "$base"
fi

run=$target/run
rm -rf "$run"
mkdir "$run"
build=$run/build
mkdir -p "$build/bin" "$build/boto/botocore/data"
for name in longshore longshore-agent longshore-control; do
    install -s -m 0755 "$BIN/$name" "$build/bin/$name"
done
cp -r packaging systemd docs LICENSE "$build/"
cp -r tests/vm/checks "$build/"
# The client of the other tests, with those services of it that the checks call.
site=$(echo target/lab/venv/lib/python3*/site-packages)
cp -r "$site"/{boto3,jmespath,dateutil,s3transfer,urllib3,six.py} "$build/boto/"
(cd "$site" && find botocore -name '*.py' -o -name '*.pem') | tar -C "$site" -cT - | tar -C "$build/boto" -x
cp -r "$site"/botocore/data/{*.json,ecs,ec2} "$build/boto/botocore/data/"
truncate -s 512M "$run/build.img"
mkfs.ext4 -q -L build -d "$build" "$run/build.img"
rm -rf "$build"
truncate -s 8G "$run/docker.img"
mkfs.xfs -q -L docker "$run/docker.img"

status=0
python3 tests/vm/boot.py "$run" "$base" "${SECONDS_MAX:-7200}" || status=$?
rm -f "$run"/*.img
exit $status
