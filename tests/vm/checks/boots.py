"""The machine is rebooted in order, and then loses its power: what is back, what ended, and what is left."""

import json

from cluster import (connected, ecs, inspect, network, printed, register, run as start, running, serve, shell, short,
                     status, stop, stopped, tasks_of)
from figures import group_of
from install import active, up
from report import check, expect, sh, wait
from restarts import STAY, told
from volumes import MOUNTS, see_each_other

SERVICES = {"web": 2, "share": 2, "wired": 2}
# Tasks with a restart policy.
RESTARTED = ("back", "again")


def address_of(arn):
    details = running(arn)["attachments"][0]["details"]
    return next(d["value"] for d in details if d["name"] == "privateIPv4Address")


def before(kept):
    with check("tasks of each kind run before the reboot"):
        wired = register("wired", [shell("main", STAY)], networkMode="awsvpc")
        serve("wired", wired, 2, **network())
        # An orderly shutdown has them end well.
        policy = {"enabled": True, "restartAttemptPeriod": 60, "ignoredExitCodes": [0]}
        main = shell("main", STAY, restartPolicy=policy, dockerLabels={"longshore.restart.backoff": "1-2"})
        back = register("back", [main], cpu="128", memory="48")
        plain = register("plain", [shell("main", STAY)], memory="48")
        again = register("again", [main], networkMode="awsvpc")
        kept["back"], kept["plain"], kept["again"] = start(back), start(plain), start(again, **network())
        for arn in (kept["back"], kept["plain"], kept["again"]):
            printed(running(arn)["taskArn"], "main", "ready")
        kept["services"] = {name: tasks_of(name) for name in SERVICES}
        kept["containers"] = {which: inspect(kept[which], "main")["Id"] for which in RESTARTED}
        kept["address"] = address_of(kept["again"])
        kept["boot"] = boot()
        kept["restarts"] = 0


def boot():
    with open("/proc/sys/kernel/random/boot_id", encoding="utf-8") as file:
        return file.read().strip()


def after(kept, how):
    with check(f"after {how} systemd has started both, and the host is connected"):
        expect(boot() != kept["boot"], "it is the same boot")
        kept["boot"] = boot()
        up()
        for unit in ("longshore-control", "longshore-agent"):
            wait(f"{unit} is active", 300, lambda unit=unit: active(unit))
        connected()
    with check(f"after {how} services have their tasks, which are new ones"):
        new = {name: tasks_of(name) for name in SERVICES}
        for name, count in SERVICES.items():
            expect(len(new[name]) == count, f"{name}: {new[name]}")
            expect(not set(new[name]) & set(kept["services"][name]), f"{name} has a task of the former boot")
        see_each_other(new["share"])
        former, kept["services"] = kept["services"], new
    with check(f"after {how} each task that it ended was told so once"):
        gone = [arn for arns in former.values() for arn in arns]
        gone += [kept.pop("plain")] if "plain" in kept else []
        for arn in gone:
            ended = stopped(arn)
            expect(ended.get("stoppedReason") and ended.get("stopCode"), ended)
            kept["ended"][arn] = told(arn)
    with check(f"after {how} what has a restart policy is the same container, with its limits or its address"):
        kept["restarts"] += 1
        for which in RESTARTED:
            expect(running(kept[which]), "")

            def again(which=which):
                seen = inspect(kept[which], "main")
                return seen["State"]["Running"] and seen["Id"] == kept["containers"][which]

            wait(f"{which} runs", 300, again)
            task = next(t for t in status()["tasks"] if t["id"] == short(kept[which]))
            expect(task["containers"][0].get("restarts") == kept["restarts"], task["containers"])
        has = sh(f"docker exec ls-{short(kept['again'])}-main ip -4 -o addr show eth0")
        expect(f" {kept['address']}/" in has and address_of(kept["again"]) == kept["address"], has)
        expect(sh(f"cat {group_of(kept['back'])}/memory.max") == str(48 << 20), "its memory is not limited")
    with check(f"after {how} nothing is left of the former boot's tasks"):
        nothing_but([arn for arns in kept["services"].values() for arn in arns]
                    + [kept[which] for which in RESTARTED])
    with check(f"after {how} no end was told again"):
        for arn, ended in kept["ended"].items():
            expect(told(arn) == ended, f"{short(arn)}: {told(arn)} after {ended}")


def after_reboot(kept):
    after(kept, "the reboot")


def after_reset(kept):
    after(kept, "the power cut")


def nothing_but(arns):
    """Containers, volumes, slices, mounts and interfaces are those of these tasks, and of sandboxes that wait."""
    ids = [short(arn) for arn in arns]
    of_tasks = lambda name: any(i in name for i in ids)

    def ask():
        left = []
        for name in sh("docker ps -a --format '{{.Names}}'; docker volume ls -q").split():
            if not of_tasks(name) and not name.startswith("ls-eni-"):
                left.append(f"container or volume {name}")
        for name in sh("ls /run/systemd/system /sys/fs/cgroup/longshore.slice 2>/dev/null; true").split():
            if name.startswith("longshore-") and name.endswith((".slice", ".partial")) and not of_tasks(name):
                left.append(f"slice {name}")
        for line in sh(f"{MOUNTS}; true").splitlines():
            if not of_tasks(line):
                left.append(f"mount {line}")
        left += interfaces(ids)
        expect(not left, "\n".join(left))
        return True

    wait("nothing is left over", 300, ask)


def interfaces(ids):
    """Namespaces, links and rules of the task network that are of no task and do not wait for one."""
    left = []
    net = status()["network"]
    owned = [i for i in net["interfaces"] if i.get("task")]
    left += [f"interface {i}" for i in owned if i["task"] not in ids]
    warm = net["warm"]
    wanted = len(owned) + warm
    sandboxes = len(sh("docker ps -a --format '{{.Names}}' | grep ^ls-eni-; true").split())
    spaces = [n for n in sh("ls /run/netns; true").split() if n.startswith("ls-") and n != "ls-fab"]
    links = [link["ifname"] for link in json.loads(sh("ip -n ls-fab -json link"))]
    links = [name for name in links if len(name) == 15 and name.startswith("t")]
    for what, count in (("sandboxes", sandboxes), ("namespaces", len(spaces)), ("links", len(links))):
        if count != wanted:
            left.append(f"{count} {what} for {len(owned)} tasks and {warm} that wait")
    rules = sh("nsenter --net=/run/netns/ls-fab nft list map inet ls_fab eni_in").count('"t')
    if rules != len(owned):
        left.append(f"rules of {rules} links for {len(owned)} tasks")
    # Each container on Docker's own bridge has one.
    ports = len(sh("ip -json link show master docker0 | grep -o ifname; true").split())
    on_bridge = len(sh("docker network inspect bridge --format '{{range .Containers}}{{.Name}} {{end}}'").split())
    if ports != on_bridge:
        left.append(f"{ports} links on docker0 for {on_bridge} containers")
    return left


def end(kept):
    with check("when all is stopped nothing is left"):
        for name in SERVICES:
            ecs("delete_service", service=name, force=True)
        for which in RESTARTED:
            stop(kept[which])
        for arns in kept["services"].values():
            for arn in arns:
                stopped(arn)
        nothing_but([])
    with check("no unit has failed, and uninstalling takes the units away"):
        failed = sh("systemctl --failed --no-legend --plain")
        expect("longshore" not in failed and "docker" not in failed, failed)
        sh("systemctl disable --now longshore-agent longshore-control && /mnt/build/packaging/install.sh uninstall")
        expect(sh("ls /usr/local/bin /usr/local/lib/systemd/system") .count("longshore") == 0, "something is left")
