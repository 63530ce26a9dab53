"""What tasks use and may use on cgroup v2 below systemd: figures against the kernel's own, limits, and their ends."""

import json
import os
import time

from cluster import execute, get, inspect, printed, register, run as start, running, shell, short, stop, stopped
from report import check, expect, sh, wait

MIB = 1 << 20

# Holds 20 MiB of its memory, has written 8 MiB to the disk, asks for its metadata again and again, and spends the rest
# of its time on nothing.
WORK = """
mkdir /shm; dd if=/dev/zero of=/dev/shm/held bs=1M count=20 2>/dev/null
dd if=/dev/zero of=/written bs=1M count=8 conv=fsync 2>/dev/null
wget -qO /dev/null $ECS_CONTAINER_METADATA_URI_V4/task; echo ready
while :; do :; done
"""


def slice_of(arn):
    return f"longshore-{short(arn)}.slice"


def group_of(arn):
    return f"/sys/fs/cgroup/longshore.slice/{slice_of(arn)}"


def stats(arn, name):
    return json.loads(execute(arn, name, "wget -qO- $ECS_CONTAINER_METADATA_URI_V4/stats"))


def run(_kept):
    limits = {"cpu": "512", "memory": "96"}
    family = register("limited", [shell("work", WORK, memory=64), shell("idle", "sleep 9999", memory=16)], **limits)
    arn = start(family)
    with check("a task with limits has a slice of systemd's with them, and its containers are in it"):
        running(arn)
        printed(arn, "work", "ready")
        group = group_of(arn)
        found = [sh(f"cat {group}/{file}") for file in ("memory.max", "cpu.max", "cpu.weight")]
        expect(found == [str(96 * MIB), "50000 100000", "20"], found)
        shown = sh(f"systemctl show {slice_of(arn)} -p ActiveState,MemoryMax,CPUQuotaPerSecUSec,CPUWeight")
        for line in ("ActiveState=active", f"MemoryMax={96 * MIB}", "CPUQuotaPerSecUSec=500ms", "CPUWeight=20"):
            expect(line in shown.splitlines(), shown)
        for name in ("work", "idle"):
            expect(sh(f"cat /proc/{inspect(arn, name)['State']['Pid']}/cgroup").startswith(
                f"0::/longshore.slice/{slice_of(arn)}/docker-"), f"{name} is elsewhere")
    with check("systemd keeps the limits when it reads its units again"):
        sh("systemctl daemon-reload")
        found = [sh(f"cat {group_of(arn)}/{file}") for file in ("memory.max", "cpu.max", "cpu.weight")]
        expect(found == [str(96 * MIB), "50000 100000", "20"], found)
    with check("/stats says of a container what its cgroup says"):
        agrees(arn)
    with check("a task uses no more processor than it may"):
        began, before = time.monotonic(), usage(group_of(arn))
        time.sleep(10)  # the span that is measured
        share = (usage(group_of(arn)) - before) / 1e6 / (time.monotonic() - began)
        expect(0.3 < share < 0.6, f"half a processor is its limit, and it used {share:.2f}")
    with check("`longshore top` and the metrics for Prometheus say so, too"):
        top(arn)
    with check("the kernel's end of a container that needs more memory than it has is OutOfMemoryError"):
        out_of_memory({"memory": 24}, {})
    with check("so is that of one that needs more than its task has"):
        out_of_memory({"memoryReservation": 8}, {"memory": "32"})
    with check("a slice goes with its task"):
        stop(arn)
        gone = f"test ! -e {group_of(arn)} && test ! -e /run/systemd/system/{slice_of(arn)} && echo gone"
        wait("its slice is gone", 300, lambda: sh(gone, fine=(0, 1)) == "gone")


def usage(group):
    return int(dict(line.split() for line in sh(f"cat {group}/cpu.stat").splitlines())["usage_usec"])


def system():
    """All that the machine's processors did and did not, in nanoseconds: what Docker's formula takes for time. Where an
    emulator shares its processors it goes more slowly than clocks do."""
    ticks = sh("head -1 /proc/stat").split()[1:9]
    return sum(map(int, ticks)) * 1_000_000_000 // os.sysconf("SC_CLK_TCK")


def agrees(arn):
    group = sh(f"echo {group_of(arn)}/docker-{inspect(arn, 'work')['Id']}.scope")
    before, began = usage(group), system()
    first = stats(arn, "work")
    time.sleep(3)  # the span between two readings
    seen = stats(arn, "work")
    after, ended = usage(group), system()
    expect(before * 1000 <= first["cpu_stats"]["cpu_usage"]["total_usage"] <= after * 1000, "CPU before")
    cpu, earlier = (seen[key]["cpu_usage"]["total_usage"] for key in ("cpu_stats", "precpu_stats"))
    expect(before * 1000 <= cpu <= after * 1000, f"CPU {cpu} ns, and the kernel's is {before} to {after} us")
    expect(cpu > earlier, f"CPU {cpu} after {earlier}")
    passed = seen["cpu_stats"]["system_cpu_usage"] - seen["precpu_stats"]["system_cpu_usage"]
    share = (cpu - earlier) / passed * seen["cpu_stats"]["online_cpus"]
    own = (after - before) * 1000 / (ended - began) * os.cpu_count()
    expect(own / 1.5 < share < own * 1.5,
           f"by Docker's own formula it used {share:.2f} of a processor, and by the kernel's figures {own:.2f}")
    memory = seen["memory_stats"]
    now = int(sh(f"cat {group}/memory.current"))
    expect(memory["limit"] == 64 * MIB, f"limit {memory['limit']}")
    expect(abs(memory["usage"] - now) < 4 * MIB, f"memory {memory['usage']}, and the kernel's is {now}")
    expect(memory["stats"]["shmem"] >= 20 * MIB, f"it holds {memory['stats']['shmem']}")
    disks = seen["blkio_stats"]["io_service_bytes_recursive"]
    written = sum(disk["value"] for disk in disks if disk["op"].lower() == "write")
    expect(8 * MIB <= written < 64 * MIB, f"8 MiB were written, and it says {written}")
    links = seen["networks"]
    expect(list(links) == ["eth0"] and links["eth0"]["rx_bytes"] > 500 and links["eth0"]["tx_bytes"] > 200, links)
    expect(seen["pids_stats"]["current"] >= 1, seen["pids_stats"])
    both = json.loads(execute(arn, "idle", "wget -qO- $ECS_CONTAINER_METADATA_URI_V4/task/stats"))
    expect(sorted(both) == sorted(inspect(arn, name)["Id"] for name in ("work", "idle")), sorted(both))


def top(arn):
    pages = get("http://127.0.0.1:51680/metrics")
    mine = [line for line in pages.splitlines() if short(arn) in line and '"work"' in line]
    value = {line.split("{")[0]: float(line.split()[-1]) for line in mine}
    expect(value.get("longshore_container_cpu_seconds_total", 0) > 1, mine or pages[:3000])
    expect(value.get("longshore_container_memory_usage_bytes", 0) > 20 * MIB, mine)

    def shown():
        seen = sh("longshore top --once --json")
        return seen if short(arn) in seen else None

    wait("`longshore top` shows it", 300, shown)


def out_of_memory(container, task):
    arn = start(register("greedy", [shell("greedy", "exec tail /dev/zero", **container)], **task))
    ended = stopped(arn)
    one = ended["containers"][0]
    expect(one.get("exitCode") == 137, one)
    expect(one.get("reason", "").startswith("OutOfMemoryError"), one)
