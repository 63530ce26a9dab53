"""The build is installed as docs/install.md says, and systemd runs it."""

import os

from cluster import ADDRESS, CREDENTIALS, IMAGE, connected
from report import check, expect, sh, wait

BUILD = "/mnt/build"

# An image of nothing but busybox, with its programs by their names.
MAKE_IMAGE = f"""
set -e; root=$(mktemp -d); cd $root; mkdir -p bin etc tmp proc sys dev
cp /bin/busybox bin/; for name in $(busybox --list); do [ -e bin/$name ] || ln -s /bin/busybox bin/$name; done
echo root:x:0:0:root:/:/bin/sh >etc/passwd
tar c . | docker import - {IMAGE}; rm -rf $root
"""

# When the machine around it is busy an emulated one takes minutes for what is done in seconds otherwise; what is
# checked here is not how soon a host counts as lost.
CONTROL = f"""
advertise = "{ADDRESS}:7421"
lease_millis = 300000
service_healthy_after_secs = 2
stopped_task_retention_secs = 14400
"""

AGENT = f"""
control = "{ADDRESS}:7421"
token_file = "/etc/longshore/join-token"
underlay = "{ADDRESS}"
metrics = "127.0.0.1:51680"
cleanup_wait = "1s"
stop_timeout = "2s"
warm_sandboxes = 1
efs = {{ fs-0123456789abcdef0 = {{ server = "{ADDRESS}", path = "/srv/share", options = "nfsvers=4.1,hard" }} }}
"""


def active(unit):
    return sh(f"systemctl show -P ActiveState {unit}") == "active"


def up():
    """Waits until systemd has started all that it starts with the machine."""
    wait("Docker runs", 300, lambda: active("docker.service"))


def run(_kept):
    with check("the host has cgroup v2, systemd's cgroups in Docker, XFS with quotas, and NFS"):
        up()
        facts = sh("docker info --format '{{.CgroupVersion}} {{.CgroupDriver}} {{.Driver}}'")
        expect(facts == "2 systemd overlay2", facts)
        expect("prjquota" in sh("findmnt -no OPTIONS /var/lib/docker"), "no project quotas")
        sh(MAKE_IMAGE)
    with check("install.sh installs units that systemd finds no fault with"):
        sh(f"BIN={BUILD}/bin {BUILD}/packaging/install.sh all")
        said = sh("systemd-analyze verify longshore-control.service longshore-agent.service 2>&1")
        expect("longshore" not in said, said)
    with check("the control plane starts as a unit, and makes its credentials"):
        with open("/etc/longshore/control.toml", "a", encoding="utf-8") as file:
            file.write(CONTROL)
        sh("longshore-control config check")
        sh("systemctl enable --now longshore-control")
        expect(os.stat(CREDENTIALS).st_mode & 0o777 == 0o600, "its credentials can be read by others")
        sh("longshore cluster create default")
    with check("the agent starts as a unit and joins with a token"):
        sh("longshore host join-token create --hosts 1 --hours 1 | "
           "install -m 0600 /dev/stdin /etc/longshore/join-token")
        with open("/etc/longshore/agent.toml", "a", encoding="utf-8") as file:
            file.write(AGENT)
        sh("longshore-agent check && systemctl enable --now longshore-agent")
        sh("rm /etc/longshore/join-token")
        connected()
        expect("vm" in sh("longshore host list"), "`longshore host list` does not know it")
    with check("both run with what their units leave them"):
        for unit, right in (("longshore-control", "0000000000000000"), ("longshore-agent", None)):
            pid = sh(f"systemctl show -P MainPID {unit}")
            have = sh(f"sed -n 's/^CapBnd:\\t//p' /proc/{pid}/status")
            expect(right is None or have == right, f"{unit} has capabilities {have}")
            expect(sh(f"sed -n 's/^NoNewPrivs:\\t//p' /proc/{pid}/status") == "1", f"{unit} may gain rights")
        # The last one is the agent's.
        expect(sh("readlink /proc/1/ns/mnt") == sh(f"readlink /proc/{pid}/ns/mnt"), "the agent has mounts of its own")
