"""The agent, the control plane and Docker are restarted under tasks, by systemd."""

from cluster import connected, describe, inspect, printed, register, run as start, serve, shell, stopped, tasks_of
from report import check, expect, sh, wait

STAY = "trap 'exit 0' TERM; echo ready; while sleep 1; do :; done"


def shape(arn):
    """Of a task, what a restart of the agent must leave as it is."""
    seen = inspect(arn, "main")
    return seen["Id"], seen["State"]["StartedAt"], seen["RestartCount"]


def told(arn):
    """A stopped task as it was told: the host's own fields are left out."""
    task = describe(arn)
    expect(task["lastStatus"] == "STOPPED", task["lastStatus"])
    return {k: str(v) for k, v in task.items() if k not in ("connectivity", "connectivityAt")}


def pid_of(unit):
    return sh(f"systemctl show -P MainPID {unit}")


def run(kept):
    web = register("web", [shell("main", STAY, portMappings=[{"containerPort": 80}])], cpu="128", memory="64")
    serve("web", web, 2)
    over = start(register("over", [shell("main", "exit 7")]))
    stopped(over)
    arns = tasks_of("web") + tasks_of("share")
    for arn in tasks_of("web"):
        printed(arn, "main", "ready")
    before = {arn: shape(arn) for arn in arns}
    ended = told(over)
    for text, command in (
        ("`systemctl restart longshore-agent` restarts no container", "systemctl restart longshore-agent"),
        ("an agent that is killed is started again by systemd", "systemctl kill -s KILL longshore-agent"),
        ("`systemctl restart longshore-control` changes nothing for tasks", "systemctl restart longshore-control"),
    ):
        with check(text):
            unit = command.split()[-1]
            old = pid_of(unit)
            sh(command)
            wait("its unit is active, with a new process", 300, lambda: pid_of(unit) not in (old, "0") and
                 sh(f"systemctl show -P ActiveState {unit}") == "active")
            connected()
            expect({arn: shape(arn) for arn in arns} == before, "containers are others")
            expect(sorted(tasks_of("web") + tasks_of("share")) == sorted(arns), "tasks are others")
            expect(told(over) == ended, "an end was told again")
    with check("`systemctl restart docker` ends tasks once, and services have theirs again"):
        sh("systemctl restart docker")
        connected()
        for arn in arns:
            stopped(arn)
        ends = {arn: told(arn) for arn in arns}
        new = tasks_of("web") + tasks_of("share")
        expect(len(new) == 4 and not set(new) & set(arns), f"{new} after {arns}")
        expect({arn: told(arn) for arn in arns} == ends, "an end was told again")
        kept["ended"] = {**ends, over: ended}
