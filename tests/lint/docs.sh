#!/bin/bash
# The documentation against the code; first the proof that each check can fail.
set -euo pipefail
cd "$(dirname "$0")/../.."
python3 tests/lint/docs.py --self-test
exec python3 tests/lint/docs.py
