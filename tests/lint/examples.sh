#!/bin/bash
# Examples in doc comments are run by `make test` for the crates of the Makefile's EXAMPLES alone, since rustdoc reads a
# whole crate to find that it has none. Holds that list to the sources; first the proof that it can fail.
set -euo pipefail
cd "$(dirname "$0")/../.."

packages() { # of the sources on standard input, those with an example that is no plain text
    while read -r file; do
        awk '/^ *\/\/[\/!] ```/ { if (!inside && $0 !~ /```(text|sh|json|toml)/) found = 1; inside = !inside }
            END { exit !found }' "$file" || continue
        dir=$(dirname "$file")
        until [ -e "$dir/Cargo.toml" ]; do dir=$(dirname "$dir"); done
        sed -n 's/^name = "\(.*\)"/\1/p' "$dir/Cargo.toml" | head -1
    done | sort -u
}

damaged=$(mktemp -d)
trap 'rm -rf "$damaged"' EXIT
printf '[package]\nname = "broken"\n' >"$damaged/Cargo.toml"
printf '//! ```text\n//! ```\n/// ```\n/// example();\n/// ```\n' >"$damaged/lib.rs"
[ "$(echo "$damaged/lib.rs" | packages)" = broken ] || { echo "examples: an example is not noticed"; exit 1; }

listed=$(sed -n 's/^EXAMPLES := //p' Makefile | tr ' ' '\n' | sort -u)
found=$(find . -path ./target -prune -o -name '*.rs' -print | packages)
if [ "$listed" != "$found" ]; then
    echo "examples: EXAMPLES in the Makefile has: ${listed//$'\n'/ }; crates with examples: ${found//$'\n'/ }"
    exit 1
fi
echo "examples: in ${found//$'\n'/ }"
