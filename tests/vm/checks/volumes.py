"""Volumes of NFS, by Docker's own driver, and `ephemeralStorage` where the storage driver has quotas."""

from cluster import (ADDRESS, execute, output, printed, register, run as start, running, serve, shell, short, stop,
                     stopped, tasks_of)
from report import check, expect, sh, wait

EFS = "fs-0123456789abcdef0"

# Writes its name beside those of others, and says whom it sees.
NOTE = """
echo here >/share/$(hostname); echo ready
while sleep 1; do for f in /share/*; do grep -q here $f && echo "sees ${f##*/}"; done; done
"""

MOUNTS = "findmnt -rno SOURCE,TARGET -t nfs,nfs4"


def nfs_volume():
    options = {"type": "nfs", "o": f"addr={ADDRESS},nfsvers=4.1,hard", "device": ":/srv/share"}
    volume = {"scope": "task", "driver": "local", "driverOpts": options}
    return [{"name": "share", "dockerVolumeConfiguration": volume}]


def sharing(family, volumes):
    mount = [{"sourceVolume": "share", "containerPath": "/share"}]
    return register(family, [shell("main", NOTE, mountPoints=mount)], volumes=volumes)


def run(_kept):
    sh("mkdir -p /srv/share && echo '/srv/share *(rw,no_root_squash,no_subtree_check)' >>/etc/exports && exportfs -ra")
    with check("the two tasks of a service share a volume of NFS: each reads what the other wrote"):
        serve("share", sharing("share", nfs_volume()), 2)
        see_each_other(tasks_of("share"))
        expect(sh(MOUNTS).count(":/srv/share ") == 2, sh(MOUNTS))
    with check("efsVolumeConfiguration is the export that the host's configuration names"):
        sh("echo here >/srv/share/from-the-host")
        efs = [{"name": "share", "efsVolumeConfiguration": {"fileSystemId": EFS}}]
        arn = start(sharing("efs", efs))
        running(arn)
        printed(arn, "main", "sees from-the-host")
        stop(arn)
        wait("its volume is gone", 300, lambda: short(arn) not in sh("docker volume ls -q"))
        expect(sh("cat /srv/share/from-the-host") == "here", "the file went with it")
    with check("an export that is not there is why a container does not start"):
        gone = nfs_volume()
        gone[0]["dockerVolumeConfiguration"]["driverOpts"]["device"] = ":/srv/nowhere"
        ended = stopped(start(sharing("nowhere", gone)))
        reason = ended["containers"][0].get("reason", "") + ended.get("stoppedReason", "")
        expect("CannotStartContainerError" in reason and "nowhere" in reason, reason)
    quotas()


def see_each_other(arns):
    expect(len(arns) == 2, arns)
    names = [execute(arn, "main", "hostname") for arn in arns]
    expect(names[0] != names[1], names)
    for arn in arns:
        for name in names:
            printed(arn, "main", f"sees {name}")


def quotas():
    limit = {"ephemeralStorage": {"sizeInGiB": 1}}
    # Most of it is only reserved, which is as good for a quota and takes no time.
    fill = "fallocate -l 1000000000 /most; dd if=/dev/zero of=/full bs=1M count=128; echo wrote $?"
    with check("ephemeralStorage: the storage driver's quota is the end of the disk for a container, and it goes on"):
        script = f"{fill}; rm /full; dd if=/dev/zero of=/again bs=1M count=8; echo again $?; sleep 9999"
        arn = start(register("full", [shell("main", script), shell("other", "exec sleep 9999")], **limit))
        seen = printed(arn, "main", "again", 600)
        expect("No space left on device" in seen and "wrote 1" in seen and "again 0" in seen, seen)
        execute(arn, "other", "dd if=/dev/zero of=/x bs=1M count=8 conv=fsync")
        running(arn)
        stop(arn)
    with check("what its containers write together beyond it ends the task with the reason"):
        more = "dd if=/dev/zero of=/x bs=1M count=64; sleep 9999"
        both = [shell("main", f"{fill}; sleep 9999"), shell("other", more)]
        ended = stopped(start(register("together", both, **limit)))
        expect("EphemeralStorageExceededError" in ended["stoppedReason"], ended["stoppedReason"])
    with check("without ephemeralStorage there is no quota"):
        arn = start(register("free", [shell("main", f"{fill}; sleep 9999")]))
        expect("wrote 0" in printed(arn, "main", "wrote", 600), output(arn, "main"))
        stop(arn)
