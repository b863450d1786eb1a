#!/usr/bin/env bash
# Builds everything and runs all tests. Further arguments go to ctest.
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/install-deps.sh
cmake --preset dev >/dev/null
cmake --build --preset dev
exec ctest --preset dev "$@"
