#!/usr/bin/env bash
# Ranks of one machine share memory although /dev/shm holds 64 KiB and the user is not root, as in many containers. The
# installed command runs 4 ranks, with private buffers and with hfr_mem_alloc's, and every sum is checked.
# usage: small_shm_test.sh BUILD_DIR      exits 77 where this machine has no mount namespace for us
set -euo pipefail

if [ "${2:-}" = inside ]; then
  mount -t tmpfs -o size=64k,mode=1777 none /dev/shm
  [ "$(df --output=size -k /dev/shm | tail -1)" -eq 64 ] || { echo "/dev/shm is not 64 KiB"; exit 1; }
  user=()
  # Root of this namespace alone is nobody outside; root of the machine becomes somebody else.
  [ "${3:-}" = drop ] && user=(setpriv --reuid=65534 --regid=65534 --clear-groups --inh-caps=-all)
  for registered in 0 1; do
    "${user[@]}" "$1/bin/hfreduce" perf --ranks-per-node 4 -R "$registered" -b 8 -e 32M -f 64 -n 2 -w 1 -c 1
  done
  exit
fi

namespace=(unshare --user --map-root-user --mount)
drop=
[ "$(id -u)" -eq 0 ] && namespace=(unshare --mount) drop=drop
if ! why=$("${namespace[@]}" sh -c 'mount -t tmpfs -o size=64k none /dev/shm' 2>&1); then
  echo "skipped: no mount namespace: $why"
  exit 77
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
chmod 755 "$work"
cmake --install "$1" --prefix "$work/prefix" >/dev/null
library=$(find "$work/prefix" -name 'libhfreduce.so*' | head -1)
export LD_LIBRARY_PATH=${library%/*}
output=$("${namespace[@]}" "$0" "$work/prefix" inside $drop)
echo "$output"
[ "$(grep -c 'Out of bounds values : 0 OK' <<<"$output")" -eq 2 ] || { echo "not two runs with right sums"; exit 1; }
