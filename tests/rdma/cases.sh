#!/usr/bin/env bash
# All cases, inside the virtual machine. Each GoogleTest program prints its cases; one that skips has not run, and fails.
# usage: cases.sh BUILD_DIR
set -uo pipefail
tests=$1/tests
failed=()

run() {
  local name=$1 limit=$2 log status=0 start=$SECONDS
  shift 2
  log=$(mktemp)
  echo "== $name"
  timeout -k 2 "$limit" "$@" 2>&1 | tee "$log" | grep -vE '^\[(=|-)|^$|^Note: '
  status=${PIPESTATUS[0]}
  [ "$status" -eq 124 ] && echo "no end within $limit s"
  if [ "$status" -eq 0 ] && grep -q '^\[  SKIPPED \]' "$log"; then echo "a case skipped"; status=1; fi
  if [ "$status" -eq 0 ] && ! grep -q '^\[       OK \]' "$log"; then echo "no case ran"; status=1; fi
  [ "$status" -eq 0 ] || failed+=("$name")
  echo "== $name: status $status after $((SECONDS - start)) s"
}

contract=$tests/transport/transport_contract_test
run "transport contract" 240 "$contract" --gtest_filter='*verbs*'
# .ci/run puts it there.
newer=$1/rdma/rdma-core-50
if [ -e "$newer/complete" ]; then
  run "transport contract with rdma-core 50" 240 "$(dirname "$0")/rdma_core_50.sh" run "$newer" "$contract" \
    --gtest_filter='*/verbs:-*StopGivesSourcesBack*'
fi
run "all-reduce" 240 "$tests/rdma/rdma_all_reduce_test"
run "mending" 240 "$tests/rdma/rdma_mending_test"
run "faults" 240 "$tests/rdma/rdma_faults_test"
run "datapath" 240 "$tests/rdma/rdma_datapath_test"
run "doctor" 240 "$tests/tools/tools_doctor_command_test" --gtest_filter='*MeasuresPorts*'

if [ ${#failed[@]} -gt 0 ]; then
  printf 'failed: %s\n' "${failed[@]}"
  exit 1
fi
echo "all passed in $SECONDS s"
