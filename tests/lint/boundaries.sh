#!/bin/bash
# The boundaries between crates and the rules about what is committed; first the proof that each rule can fail.
set -euo pipefail
cd "$(dirname "$0")/../.."
python3 tests/lint/boundaries.py --self-test
exec python3 tests/lint/boundaries.py
