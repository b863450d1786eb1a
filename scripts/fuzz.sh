#!/usr/bin/env bash
# Runs every fuzz target of tests/fuzz for so many seconds, one after the other, from its corpus. What it finds lies in
# build/fuzz/found. Further arguments name the targets to run.
# usage: scripts/fuzz.sh SECONDS [TARGET...]
set -euo pipefail
cd "$(dirname "$0")/.."
seconds=${1:?usage: scripts/fuzz.sh SECONDS [TARGET...]}
shift
cmake --preset fuzz >/dev/null
cmake --build --preset fuzz
[ $# -gt 0 ] || set -- $(ls tests/fuzz/corpus)
for target in "$@"; do
  grown=build/fuzz/grown/$target
  mkdir -p "$grown" build/fuzz/found
  echo "== $target"
  # A leak would show once only; an input of a megabyte is not a parser's trouble.
  build/fuzz/tests/fuzz/fuzz_"$target" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 -print_final_stats=1 \
    -artifact_prefix=build/fuzz/found/"$target"- "$grown" tests/fuzz/corpus/"$target" 2>build/fuzz/found/"$target".log ||
    { cat build/fuzz/found/"$target".log; exit 1; }
  grep -E 'cov:' build/fuzz/found/"$target".log | tail -1
  grep -E 'number_of_executed_units' build/fuzz/found/"$target".log
done
