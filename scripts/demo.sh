#!/usr/bin/env bash
# The main job: all-reduces 186 MiB of FP32 over 2 emulated nodes x 4 ranks (8 processes), checked and timed.
# Further arguments go to `hfreduce perf`, where the last of each counts: `scripts/demo.sh -n 3`.
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/install-deps.sh
cmake --preset release -DHFREDUCE_BUILD_TESTS=OFF -DHFREDUCE_BUILD_BENCH=OFF >/dev/null
cmake --build --preset release
exec build/release/src/tools/hfreduce perf --nodes 2 --ranks-per-node 4 -b 186M -e 186M -d float -o sum -n 5 -w 1 -c 1 "$@"
