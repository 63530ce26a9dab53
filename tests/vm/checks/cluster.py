"""The cluster of this one host, as a client of its API sees it, and the host as its kernel does."""

import functools
import json
import os
import urllib.request

from report import expect, sh, wait

ADDRESS = "10.0.2.15"
CREDENTIALS = "/var/lib/longshore/control/root-credentials"
IMAGE = "busybox"

os.environ.update(
    AWS_SHARED_CREDENTIALS_FILE=CREDENTIALS,
    AWS_ENDPOINT_URL="http://127.0.0.1:7420",
    AWS_DEFAULT_REGION="lab",
    PATH="/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
)


@functools.cache
def client(name):
    import boto3  # it takes seconds, which the first checks do without

    return boto3.client(name)


def ecs(operation, **args):
    return getattr(client("ecs"), operation)(**args)


def shell(name, script, **more):
    memory = {} if "memoryReservation" in more else {"memory": 32}
    return {"name": name, "image": IMAGE, "stopTimeout": 2, "command": ["sh", "-c", script], **memory, **more}


def register(family, containers, **more):
    made = ecs("register_task_definition", family=family, containerDefinitions=containers, **more)
    return made["taskDefinition"]["taskDefinitionArn"]


def run(definition, **more):
    answer = ecs("run_task", taskDefinition=definition, **more)
    expect(not answer["failures"], answer["failures"])
    return answer["tasks"][0]["taskArn"]


def network():
    subnet = client("ec2").describe_subnets()["Subnets"][0]["SubnetId"]
    return {"networkConfiguration": {"awsvpcConfiguration": {"subnets": [subnet]}}}


def describe(arn):
    answer = ecs("describe_tasks", tasks=[arn])
    expect(answer["tasks"], answer["failures"])
    return answer["tasks"][0]


def running(arn):
    def ask():
        task = describe(arn)
        expect(task["lastStatus"] != "STOPPED", lambda: f"it stopped: {brief(task)}")
        return task if task["lastStatus"] == "RUNNING" else None

    return wait(f"task {short(arn)} runs", 600, ask)


def stopped(arn, seconds=600):
    def ask():
        task = describe(arn)
        expect(task["lastStatus"] == "STOPPED", lambda: brief(task))
        return task

    return wait(f"task {short(arn)} is stopped", seconds, ask)


def stop(arn):
    ecs("stop_task", task=arn)
    return stopped(arn)


def brief(task):
    containers = [
        {key: c.get(key) for key in ("name", "lastStatus", "exitCode", "reason", "healthStatus")}
        for c in task["containers"]
    ]
    return json.dumps({
        "status": task["lastStatus"], "code": task.get("stopCode"), "reason": task.get("stoppedReason"),
        "containers": containers,
    })


def short(arn):
    return arn.rsplit("/", 1)[-1]


def serve(name, definition, count, **more):
    ecs("create_service", serviceName=name, taskDefinition=definition, desiredCount=count, **more)


def tasks_of(service):
    """The tasks of a service that run, once they are as many as it wants and there is no other deployment."""

    def ask():
        found = ecs("describe_services", services=[service])["services"][0]
        counts = {key: found[key] for key in ("desiredCount", "runningCount", "pendingCount")}
        expect(found["runningCount"] == found["desiredCount"], lambda: f"{counts}: {found['events'][:3]}")
        return ecs("list_tasks", serviceName=service, desiredStatus="RUNNING")["taskArns"]

    return wait(f"service {service} runs", 600, ask)


def output(arn, name):
    return sh(f"docker logs ls-{short(arn)}-{name} 2>&1")


def printed(arn, name, text, seconds=300):
    """Waits until a container has printed something, and gives all that it has."""

    def ask():
        seen = output(arn, name)
        expect(text in seen, lambda: f"it printed {seen[-2000:]!r}")
        return seen

    return wait(f"{name} prints {text!r}", seconds, ask)


def inspect(arn, name):
    return json.loads(sh(f"docker inspect ls-{short(arn)}-{name}"))[0]


def execute(arn, name, script, fine=(0,)):
    """A command in a container, past the product."""
    quoted = script.replace("'", "'\\''")
    return sh(f"docker exec ls-{short(arn)}-{name} sh -c '{quoted}'", fine=fine)


def get(url):
    with urllib.request.urlopen(url, timeout=10) as answer:
        return answer.read().decode()


def status():
    return json.loads(sh("python3 -c 'import socket,sys\ns=socket.socket(socket.AF_UNIX)\n"
                         "s.connect(\"/run/longshore/agent.sock\")\n"
                         "while b:=s.recv(65536): sys.stdout.buffer.write(b)'"))


def host():
    arns = ecs("list_container_instances")["containerInstanceArns"]
    expect(len(arns) == 1, f"hosts: {arns}")
    return ecs("describe_container_instances", containerInstances=arns)["containerInstances"][0]


def connected():
    """Waits until the host takes tasks of every kind."""

    def ask():
        found = host()
        expect(found["agentConnected"] and not found.get("statusReason"),
               lambda: f"connected {found['agentConnected']}, {found.get('statusReason')}")
        return found

    return wait("the host is connected, with its task network", 600, ask)
