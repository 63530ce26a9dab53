#!/usr/bin/env python3
"""Holds the documentation to the code: operations, refused fields, configuration keys, links.

`docs.py --self-test` damages each in a copy and fails unless it is noticed.
"""

import argparse
import pathlib
import re
import shutil
import sys
import tempfile

OPERATIONS = "control-plane/core/src/ops/mod.rs"
EC2 = "control-plane/core/src/ec2/mod.rs"
# section of docs/ecs-compatibility.md -> where the operations of that service are
SIBLINGS = {
    "CloudWatch Logs": "control-plane/ecs-api/src/logs.rs",
    "Secrets Manager": "control-plane/ecs-api/src/secrets.rs",
    "EventBridge": "control-plane/ecs-api/src/events.rs",
    "EventBridge Scheduler": "control-plane/ecs-api/src/scheduler.rs",
    "Application Auto Scaling": "control-plane/ecs-api/src/autoscaling.rs",
}
REFUSED = "control-plane/core/src/definition/unsupported.rs"
COMPATIBILITY = "docs/ecs-compatibility.md"
CONFIGURATION = "docs/configuration.md"
# section of docs/configuration.md -> the shipped example, which packaging/tests hold to the code
EXAMPLES = {
    "longshore-control": "packaging/control.toml",
    "longshore-agent": "packaging/agent.toml",
    "longshore": "packaging/longshore.toml",
}


def difference(what, documented, real):
    for name in sorted(real - documented):
        yield f"{what} `{name}` is in the code and not documented"
    for name in sorted(documented - real):
        yield f"{what} `{name}` is documented and not in the code"


def operations_of(section):
    rows = [line.split("|")[2] for line in section.splitlines() if line.startswith("| ") and "operations" not in line]
    return {name.strip() for row in rows for name in row.split(",")}


def section_of(root, title):
    text = (root / COMPATIBILITY).read_text().split(f"## {title}\n")[1]
    return re.split(r"^## ", text, flags=re.M)[0]


def check_operations(root):
    code = (root / OPERATIONS).read_text()
    real = set(re.findall(r"Operation::(\w+) => (?:write|read)\(", code))
    documented = operations_of(section_of(root, "Operations").split("Every other operation")[0])
    yield from difference(f"{COMPATIBILITY}: operation", documented, real)


def check_ec2(root):
    code = (root / EC2).read_text()
    real = set(re.findall(r"\b([A-Z]\w+),", re.search(r"^operations!\((.*?)^\);", code, re.M | re.S).group(1)))
    yield from difference(f"{COMPATIBILITY}: operation of EC2", operations_of(section_of(root, "EC2")), real)


def check_siblings(root):
    for service, file in SIBLINGS.items():
        table = re.search(r"^service_operations! \{(.*?)^\}", (root / file).read_text(), re.M | re.S).group(1)
        real = set(re.findall(r"^ {8}([A-Z]\w+)[,:]", table, re.M))
        documented = operations_of(section_of(root, service))
        yield from difference(f"{COMPATIBILITY}: operation of {service}", documented, real)


def check_refused(root):
    code = (root / REFUSED).read_text()
    real = set(re.findall(r'^    \("([^"]+)", \|', code, re.M))
    section = (root / COMPATIBILITY).read_text().split("| where | refused |")[1].split("Honoured:")[0]
    documented = set(re.findall(r"`([^`]+)`", section))
    yield from difference(f"{COMPATIBILITY}: refused field", documented, real)


def check_keys(root):
    text = (root / CONFIGURATION).read_text()
    for program, example in EXAMPLES.items():
        real = set(re.findall(r"^#(\w+) = ", (root / example).read_text(), re.M))
        section = re.split(r"^## ", text.split(f"## `{program}`:")[1], flags=re.M)[0]
        documented = set(re.findall(r"^\| `(\w+)` \|", section, re.M))
        yield from difference(f"{CONFIGURATION}: {program}'s key", documented, real)


def check_links(root):
    for page in sorted(root.glob("*.md")) + sorted(root.glob("docs/**/*.md")):
        for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text()):
            if not re.match(r"\w+:", target) and not (page.parent / target).exists():
                yield f"{page.relative_to(root)}: links to {target}, which is not there"


CHECKS = [
    check_operations,
    check_ec2,
    check_siblings,
    check_refused,
    check_keys,
    check_links,
]


def faults(root):
    return [fault for check in CHECKS for fault in check(root)]


# (file, what to replace, by what): each must be noticed
DAMAGES = [
    (COMPATIBILITY, "CreateCluster, ", ""),
    (COMPATIBILITY, "CreateCluster, ", "CreateCluster, CreateGateway, "),
    (COMPATIBILITY, "DescribeVpcs, ", ""),
    (COMPATIBILITY, "`resourceRequirements.type NeuronDevice`, ", ""),
    (COMPATIBILITY, "DeleteLogStream, ", ""),
    (COMPATIBILITY, "RestoreSecret", "RotateSecret"),
    (COMPATIBILITY, "TestEventPattern", "CreateEventBus"),
    (COMPATIBILITY, "ListScheduleGroups", "ListScheduleTypes"),
    (COMPATIBILITY, "PutScalingPolicy", "PutScalingPlan"),
    (COMPATIBILITY, "`secrets`, ", "`secrets`, `image`, "),
    (CONFIGURATION, "| `zone` |", "| `zones` |"),
    (CONFIGURATION, "| `wait_secs` |", "| wait |"),
    (CONFIGURATION, "](command.md)", "](no-such-page.md)"),
]


def self_test(root):
    went_wrong = []
    with tempfile.TemporaryDirectory() as directory:
        copy = pathlib.Path(directory)
        for file in {OPERATIONS, EC2, REFUSED, *SIBLINGS.values(), *EXAMPLES.values()} | {
            str(p.relative_to(root)) for p in [*root.glob("*.md"), *root.glob("docs/**/*.md")]
        } | {"LICENSE"}:
            if (root / file).exists():
                (copy / file).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(root / file, copy / file)
        before = set(faults(copy))
        for file, old, new in DAMAGES:
            original = (copy / file).read_text()
            (copy / file).write_text(original.replace(old, new, 1))
            if old not in original or not set(faults(copy)) - before:
                went_wrong.append(f"{file}: nobody notices {old!r} becoming {new!r}")
            (copy / file).write_text(original)
    return went_wrong


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--self-test", action="store_true", help="prove that each check can fail")
    root = pathlib.Path(__file__).resolve().parents[2]
    testing = parser.parse_args().self_test
    found = self_test(root) if testing else faults(root)
    for fault in found:
        print(fault, file=sys.stderr)
    print(f"docs: {len(DAMAGES)} planted faults, {len(found)} went wrong" if testing else f"docs: {len(found)} faults")
    return bool(found)


if __name__ == "__main__":
    sys.exit(main())
