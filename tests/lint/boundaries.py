#!/usr/bin/env python3
"""Holds the boundaries that ARCHITECTURE.md and STYLE describe, and a few rules about what is committed.

`boundaries.py` checks the checkout. `boundaries.py --self-test` plants a violation of each rule in a copy and
fails unless exactly that rule notices, so that no rule can rot into one that never fires.
"""

import argparse
import fnmatch
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib

# --- who may depend on what, by Cargo.toml -----------------------------------------------------------------------

# dependency pattern -> manifests (directories) that may have it among [dependencies] or [build-dependencies]
HOMES = {
    "bollard": ["agent/docker"],
    "rtnetlink": ["agent/net"],
    "netlink-*": ["agent/net"],
    "nlink": ["agent/net"],
    "tonic": ["proto", "agent", "control-plane"],
    "tonic-prost": ["proto"],
    "prost": ["proto", "agent", "control-plane"],
    # The agent's ledger, and the control plane's store; each was measured against the other (docs/decisions).
    "redb": ["agent", "control-plane/store/bench"],
    "rusqlite": ["control-plane/store", "control-plane/store/bench"],
    "longshore-proto": ["agent", "control-plane"],
    "longshore-core": ["control-plane"],
    "longshore-store": ["control-plane", "control-plane/core"],
    "longshore-sched": ["control-plane", "control-plane/core"],
    "longshore-rollout": ["control-plane/core"],
    "longshore-scaling": ["control-plane/core"],
    "longshore-schedule": ["control-plane/core"],
    "longshore-pattern": ["control-plane/core"],
    "longshore-docker": ["agent"],
    "longshore-net": ["agent"],
    "longshore-plan": ["agent"],
}

# Crates that do no I/O: what may not be reached from them through any chain of dependencies.
PURE = {
    "longshore-model": ["tokio", "futures", "async-*", "mio", "hyper", "http", "prost", "tonic", "bollard", "rtnetlink"],
    "longshore-plan": ["tokio", "futures", "async-*", "mio", "hyper", "http", "prost", "tonic", "bollard", "rtnetlink"],
    "longshore-sched": ["tokio", "futures", "async-*", "mio", "hyper", "http", "prost", "tonic"],
    "longshore-rollout": ["tokio", "futures", "async-*", "mio", "hyper", "http", "prost", "tonic"],
    "longshore-scaling": ["tokio", "futures", "async-*", "mio", "hyper", "http", "prost", "tonic", "rand"],
    "longshore-schedule": ["tokio", "futures", "async-*", "mio", "hyper", "http", "prost", "tonic", "rand"],
    "longshore-pattern": ["tokio", "futures", "async-*", "mio", "hyper", "http", "prost", "tonic"],
    "longshore-ecs-api": ["tokio", "futures", "async-*", "mio", "hyper", "prost", "tonic"],
}

# --- who may name what, by source text ---------------------------------------------------------------------------

# rule -> (what must not stand in code, where it may, everywhere it is looked for)
NAMES = {
    "bollard-in-its-driver": (r"\bbollard\b", ["agent/docker/*"], ["*.rs"]),
    "netlink-in-its-crate": (r"\b(rtnetlink|netlink_\w+|nlink)\b", ["agent/net/*"], ["*.rs"]),
    "protobuf-at-the-edges": (
        # A constant of the crate, such as a name in a certificate, is no protobuf.
        r"\blongshore_proto::(?![A-Z_]+\b)|\b(prost|tonic)(::|;)",
        [
            "proto/*",
            "control-plane/src/agents/*",
            "agent/src/session/*",
            "agent/src/identity/*",
            # The two ends in one process, with peers of other versions.
            "tests/*",
            "control-plane/tests/*",
            "control-plane/examples/*",
            "agent/tests/*",
        ],
        ["*.rs"],
    ),
}

IMPURE = (
    r"\b(std::(fs|process|env|thread)\b|std::net::(Tcp|Udp)|std::os::unix::net|tokio\b|async fn\b"
    r"|SystemTime::now|Instant::now|Timestamp::now|Zoned::now|rand::|thread_rng)"
)
# directories in which time, chance and I/O come from outside
PURE_SOURCES = [
    "agent/plan/src/*",
    "control-plane/pattern/src/*",
    "control-plane/sched/src/*",
    "control-plane/scaling/src/*",
    "control-plane/schedule/src/*",
    "model/src/*",
]
# Ids are made at random in one place.
PURE_EXCEPT: list[str] = []

# --- what must not be committed ----------------------------------------------------------------------------------

PATHS = r"(?<![\w./-])/(work/(main|shared|t)\b|tmp/brief\b|root/\.(cargo|pyenv|rustup)\b|home/\w+/)"
UNFINISHED = r"\b(todo!|unimplemented!|dbg!)\s*\(|\b(TODO|FIXME|XXX)\b|#\[ignore\b"
TICKETS = r"(?i)\bissue\s+#?\d+|\bsee #\d+"
MIRRORS = r"(?i)\b(extra-)?index-url\b|\bregistry-mirrors\b|\breplace-with\b"
TEXT = ["*.rs", "*.toml", "*.md", "*.sh", "*.py", "*.proto", "*.service", "*.json", "Makefile", ".ci/run"]
# rustfmt breaks code, not strings and comments; a longer line is shown and does not fail.
LINE_CHARACTERS = 120
# These name what they forbid.
SELF = ["tests/lint/*"]
GENERATED = ["control-plane/ecs-api/src/generated/*"]
LONG_FILE_LINES = 700


def matches(path, patterns):
    return any(fnmatch.fnmatch(path, p) for p in patterns)


def named(path, patterns):
    return matches(path, patterns) or matches(path.rsplit("/", 1)[-1], patterns)


def code(text):
    """Lines with their numbers, without comments: a rule is about code, and comments explain it."""
    for number, line in enumerate(text.splitlines(), 1):
        yield number, re.sub(r"(^|\s)//.*", "", line)


class Tree:
    def __init__(self, root, files):
        self.root = root
        self.files = files

    def text(self, path):
        try:
            return (self.root / path).read_text()
        except (FileNotFoundError, UnicodeDecodeError):
            return ""

    def named(self, patterns):
        return [f for f in self.files if named(f, patterns)]


def dependencies(manifest, kinds=("dependencies", "build-dependencies")):
    tables = [manifest] + list(manifest.get("target", {}).values())
    return {name for table in tables for kind in kinds for name in table.get(kind, {})}


def manifests(tree):
    for path in tree.named(["Cargo.toml"]):
        manifest = tomllib.loads(tree.text(path))
        if "package" in manifest:
            yield path.removesuffix("Cargo.toml").rstrip("/"), manifest


def check_homes(tree):
    for directory, manifest in manifests(tree):
        if directory in ("tests", "tests/fleet"):
            continue
        for name in sorted(dependencies(manifest)):
            for pattern, homes in HOMES.items():
                if fnmatch.fnmatch(name, pattern) and directory not in homes:
                    where = ", ".join(homes)
                    yield "homes", f"{directory}/Cargo.toml: depends on {name}, which belongs in {where}"


def check_pure(tree):
    lock = tomllib.loads(tree.text("Cargo.lock") or "")
    graph = {}
    for package in lock.get("package", []):
        graph.setdefault(package["name"], set()).update(d.split(" ")[0] for d in package.get("dependencies", []))
    for directory, manifest in manifests(tree):
        crate = manifest["package"]["name"]
        banned = PURE.get(crate)
        if banned is None:
            continue
        seen, todo = {}, [(name, name) for name in sorted(dependencies(manifest))]
        while todo:
            name, chain = todo.pop()
            if name in seen:
                continue
            seen[name] = chain
            todo += [(child, f"{chain} -> {child}") for child in sorted(graph.get(name, ()))]
        for name, chain in sorted(seen.items()):
            if matches(name, banned):
                yield "pure-crates", f"{directory}/Cargo.toml: {crate} is pure and reaches {name}: {chain}"


def check_names(tree):
    for rule, (pattern, homes, where) in NAMES.items():
        for path in tree.named(where):
            if matches(path, homes):
                continue
            for number, line in code(tree.text(path)):
                if re.search(pattern, line):
                    yield rule, f"{path}:{number}: {line.strip()}"


def check_pure_sources(tree):
    for path in tree.named(["*.rs"]):
        if not matches(path, PURE_SOURCES) or matches(path, PURE_EXCEPT) or re.search(r"(^|/)(tests|prop\w*)(/|\.rs$)", path):
            continue
        for number, line in code(tree.text(path)):
            if re.match(r"\s*(#\[cfg\(test\)\]|mod tests)", line):
                break
            if re.search(IMPURE, line):
                yield "pure-sources", f"{path}:{number}: {line.strip()}"


def check_committed(tree):
    rules = {"machine-path": PATHS, "unfinished": UNFINISHED, "ticket": TICKETS, "mirror": MIRRORS}
    for path in tree.named(TEXT):
        if matches(path, SELF + GENERATED):
            continue
        for number, line in enumerate(tree.text(path).splitlines(), 1):
            for rule, pattern in rules.items():
                if re.search(pattern, line):
                    yield rule, f"{path}:{number}: {line.strip()[:140]}"


def check_module_docs(tree):
    for path in tree.named(["*.rs"]):
        if matches(path, GENERATED) or path.endswith("/tests.rs"):
            continue
        text = tree.text(path).lstrip()
        if text and not text.startswith("//!"):
            yield "module-docs", f"{path}: does not open with //!: what it owns, what it never does"


CHECKS = [check_homes, check_pure, check_names, check_pure_sources, check_committed, check_module_docs]


def violations(tree):
    return [v for check in CHECKS for v in check(tree)]


def warnings(tree):
    for path in tree.named(["*.rs", "*.py", "*.sh"]):
        lines = tree.text(path).count("\n")
        if lines > LONG_FILE_LINES and not matches(path, GENERATED):
            yield f"{path}: {lines} lines; more than one idea?"
    long = {}
    for path in tree.named(["*.rs"]):
        lines = [n for n, line in enumerate(tree.text(path).splitlines(), 1) if len(line) > LINE_CHARACTERS]
        if lines and not matches(path, GENERATED):
            long[path] = lines
    if long:
        where = ", ".join(f"{path}:{lines[0]}" for path, lines in sorted(long.items()))
        yield f"{sum(map(len, long.values()))} lines of more than {LINE_CHARACTERS} characters, the first at {where}"


def checkout():
    root = pathlib.Path(__file__).resolve().parents[2]
    command = ["git", "-C", str(root), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, capture_output=True, check=True).stdout.decode().split("\0")
    return Tree(root, sorted({f for f in listed if f and (root / f).is_file()}))


# --- a planted violation for each rule ---------------------------------------------------------------------------

# rule -> (file, text to put in front of which pattern, the text); an absent file is made
PLANTS = [
    ("homes", "agent/plan/Cargo.toml", r"(?m)^\[dependencies\]$", "[dependencies]\nbollard = \"0.21\""),
    ("homes", "cli/Cargo.toml", r"(?m)^\[dependencies\]$", "[dependencies]\nlongshore-core.workspace = true"),
    ("homes", "agent/Cargo.toml", r"\Z", "\n[target.'cfg(unix)'.dependencies]\nrtnetlink = \"0.24\"\n"),
    ("pure-crates", "model/Cargo.toml", r"(?m)^\[dependencies\]$", "[dependencies]\ntokio.workspace = true"),
    ("pure-crates", "agent/plan/Cargo.toml", r"(?m)^\[dependencies\]$", "[dependencies]\nhyper-util = \"0.1\""),
    ("bollard-in-its-driver", "agent/src/planted.rs", None, "//! x\nuse bollard::Docker;\n"),
    ("netlink-in-its-crate", "agent/src/planted.rs", None, "//! x\nuse netlink_packet_route::link::LinkMessage;\n"),
    ("protobuf-at-the-edges", "control-plane/core/src/planted.rs", None, "//! x\nuse longshore_proto::v1;\n"),
    ("protobuf-at-the-edges", "agent/src/engine/planted.rs", None, "//! x\nfn f(s: tonic::Status) {}\n"),
    ("pure-sources", "agent/plan/src/planted.rs", None, "//! x\nfn f() { std::time::Instant::now(); }\n"),
    ("pure-sources", "agent/plan/src/planted.rs", None, "//! x\nuse std::fs::File;\n"),
    ("pure-sources", "model/src/planted.rs", None, "//! x\nasync fn f() {}\n"),
    ("machine-path", "docs/planted.md", None, "see /" + "work/main/x\n"),
    ("unfinished", "cli/src/planted.rs", None, "//! x\nfn f() { to" + "do!() }\n"),
    ("unfinished", "cli/tests/planted.rs", None, "//! x\n#[ig" + "nore]\nfn f() {}\n"),
    ("ticket", "docs/planted.md", None, "as issue " + "#12 says\n"),
    ("mirror", "tests/planted.sh", None, "pip install --index-" + "url http://x\n"),
    ("module-docs", "cli/src/planted.rs", None, "fn f() {}\n"),
]

# What looks like a violation and is none.
INNOCENT = [
    ("agent/src/planted.rs", "//! bollard is spoken in agent/docker.\n// rtnetlink too\n"),
    ("agent/plan/src/planted.rs", "//! x\nfn f(at: std::net::IpAddr) {}\n#[cfg(test)]\nmod tests { fn f() { std::fs::read(\"x\"); } }\n"),
    ("docs/planted.md", "framework/main and /var/lib/longshore and the root/ directory\n"),
]


def self_test(tree):
    failures = []
    with tempfile.TemporaryDirectory() as directory:
        root = pathlib.Path(directory)
        for file in tree.files:
            (root / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(tree.root / file, root / file)
        all_manifests = tree.named(["Cargo.toml"])

        def planted(file, pattern, text):
            # Only what the rules need to see: all manifests, and the file in question.
            subset = sorted({*all_manifests, file})
            before = set(violations(Tree(root, subset)))
            target = root / file
            original = target.read_text() if target.exists() else None
            if pattern is not None:
                text, count = re.subn(pattern, lambda _: text, original or "", count=1)
                if count != 1:
                    return None
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text)
            new = set(violations(Tree(root, subset))) - before
            if original is None:
                target.unlink()
            else:
                target.write_text(original)
            return {rule for rule, _ in new}

        for rule, file, pattern, text in PLANTS:
            noticed = planted(file, pattern, text)
            if noticed is None or rule not in noticed:
                failures.append(f"rule {rule} does not notice what was planted in {file}: {text.strip()!r} ({noticed})")
        for file, text in INNOCENT:
            noticed = planted(file, None, text)
            if noticed:
                failures.append(f"rules {noticed} complain about the innocent {text.strip()!r}")
        rules = {rule for rule, *_ in PLANTS}
        known = {"homes", "pure-crates", "pure-sources", "module-docs", *NAMES}
        known |= {"machine-path", "unfinished", "ticket", "mirror"}
        failures += [f"rule {rule} has no planted violation" for rule in sorted(known - rules)]
    return failures


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--self-test", action="store_true", help="prove that every rule can fail")
    tree = checkout()
    if parser.parse_args().self_test:
        failures = self_test(tree)
        for failure in failures:
            print(failure, file=sys.stderr)
        print(f"boundaries: {len(PLANTS)} planted violations, {len(failures)} went wrong")
        return bool(failures)
    for warning in warnings(tree):
        print(f"warning: {warning}")
    found = violations(tree)
    for rule, text in found:
        print(f"{rule}: {text}", file=sys.stderr)
    print(f"boundaries: {len(tree.files)} files, {len(found)} violations")
    return bool(found)


if __name__ == "__main__":
    sys.exit(main())
