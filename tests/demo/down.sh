#!/bin/bash
# Ends what `make demo KEEP=1` left running.
set -euo pipefail
cd "$(dirname "$0")/../.."
if [ ! -e target/demo/holder ]; then
    echo "no demonstration is running"
    exit 0
fi
exec "$BIN/longshore-lab" down target/demo
