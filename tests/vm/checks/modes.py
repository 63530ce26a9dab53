"""The four network modes, with the kernel, the firewall and the Docker of a plain Debian."""

import json

from cluster import ADDRESS, execute, get, network, register, run as start, running, shell, stop, describe
from report import check, expect, sh, wait

SERVE = "mkdir /www; hostname >/www/index.html; exec httpd -f -p 80 -h /www"


def metadata(arn):
    return json.loads(execute(arn, "main", "wget -qO- $ECS_CONTAINER_METADATA_URI_V4/task"))


def run(_kept):
    arns = []

    def begin(name, script, more=None, **options):
        definition = register(name, [shell("main", script, **(more or {}))], **options)
        arns.append(start(definition, **(network() if options.get("networkMode") == "awsvpc" else {})))
        running(arns[-1])
        return arns[-1]

    with check("bridge: a published port answers, and metadata does"):
        arn = begin("bridged", SERVE, {"portMappings": [{"containerPort": 80}]})
        port = describe(arn)["containers"][0]["networkBindings"][0]["hostPort"]
        expect(wait("the page", 300, lambda: page(f"http://{ADDRESS}:{port}/")), "an empty page")
        expect(metadata(arn)["TaskARN"] == arn, "another task's metadata")
    with check("host: the task has the host's links, and metadata"):
        arn = begin("hosted", "exec sleep 9999", networkMode="host")
        expect("docker0" in execute(arn, "main", "ls /sys/class/net"), "it has not the host's links")
        expect(metadata(arn)["TaskARN"] == arn, "another task's metadata")
        seen = json.loads(execute(arn, "main", "wget -qO- $ECS_CONTAINER_METADATA_URI_V4/stats"))
        expect("networks" not in seen and seen["memory_stats"]["usage"] > 0, seen)
    with check("host: what a cloud tells the host at link-local addresses is not for its tasks"):
        sh("mkdir -p /run/cloud; echo keys >/run/cloud/index.html; ip address add 169.254.169.254/32 dev lo")
        sh("busybox httpd -p 169.254.169.254:8169 -h /run/cloud")
        url = "http://169.254.169.254:8169/"
        expect(page(url) == "keys", "the host does not reach it either")
        said = execute(arns[-1], "main", f"timeout 5 wget -qO- {url} 2>&1", fine=(0, 1, 143))
        expect("refused" in said, said)
    with check("none: the task has no link"):
        arn = begin("alone", "exec sleep 9999", networkMode="none")
        links = execute(arn, "main", "ls /sys/class/net").split()
        expect(links == ["lo"], links)
    with check("awsvpc: tasks have addresses, reach each other, and have metadata and figures of their own"):
        arn = begin("wired", SERVE, networkMode="awsvpc")
        other = begin("visitor", "exec sleep 9999", networkMode="awsvpc")
        address = describe(arn)["containers"][0]["networkInterfaces"][0]["privateIpv4Address"]
        expect(address.startswith("10.77."), address)
        fetch = f"timeout 5 wget -qO- http://{address}/"
        wait("the other's page", 300, lambda: execute(other, "main", fetch, fine=(0, 1, 143)))
        expect(metadata(arn)["TaskARN"] == arn, "another task's metadata")
        seen = json.loads(execute(other, "main", "wget -qO- $ECS_CONTAINER_METADATA_URI_V4/stats"))
        expect(seen["networks"]["eth0"]["rx_bytes"] > 100, seen.get("networks"))
    with check("privileged: a task may do what its host's root may, and others may not"):
        arn = begin("mighty", "exec sleep 9999", {"privileged": True})
        said = execute(arn, "main", "mount -t tmpfs none /tmp && cat /proc/mounts")
        expect(" /tmp tmpfs " in said, said)
        said = execute(arns[0], "main", "mount -t tmpfs none /tmp 2>&1", fine=(0, 1, 255))
        expect("denied" in said or "not permitted" in said, said)
    with check("dockerSecurityOptions: a task has the AppArmor profile that it asks for"):
        arn = begin("unconfined", "exec sleep 9999", {"dockerSecurityOptions": ["apparmor:unconfined"]})
        said = execute(arn, "main", "cat /proc/1/attr/current")
        expect(said.strip() == "unconfined", said)
        said = execute(arns[0], "main", "cat /proc/1/attr/current")
        expect("docker-default" in said, said)
    with check("tasks of all modes end as they are told to"):
        for arn in arns:
            stop(arn)


def page(url):
    try:
        return get(url).strip()
    except OSError:
        return None
