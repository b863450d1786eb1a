#!/usr/bin/env bash
# The verbs transport against Ubuntu 24.04's rdma-core 50, whatever this system has (Debian 12: 44).
# usage: rdma_core_50.sh fetch DIR               unpacks it, with the C library that it needs; 77 without the archive
#        rdma_core_50.sh compile DIR             compiles src/transport/verbs with its headers
#        rdma_core_50.sh run DIR COMMAND...      inside the virtual machine: runs the command with its libraries
set -euo pipefail
archive=${HFREDUCE_UBUNTU_ARCHIVE:-http://archive.ubuntu.com/ubuntu}
packages='
3a327a9d984f0acd6aee20f7b48b2d647322e2afaf370436af9502cf393085dc r/rdma-core/libibverbs-dev_50.0-2build2_amd64.deb
731e9d88e498b1a8b03a4eaf6e3ed6227f1c4646b9931256f7e234b42ae618dd r/rdma-core/libibverbs1_50.0-2build2_amd64.deb
0e21edabacc12e112b0ff182928fd147f873d83d31bf721a2eba7cea06f75374 r/rdma-core/ibverbs-providers_50.0-2build2_amd64.deb
0afff6a14f55122757db02ff7e11ad58f128465fd796e2e33a0b0fe5b45a09ed libn/libnl3/libnl-3-200_3.7.0-0.3build1_amd64.deb
8abfa9a87f78dbba7edc19ef4cfcb16b70dde562bccc3ff7550bdd3a0487e358 libn/libnl3/libnl-route-3-200_3.7.0-0.3build1_amd64.deb
af36c7ac770770fe3d3c10e85d6bc538e76e57570ba7db7d397fb9f654783ef3 g/glibc/libc6_2.39-0ubuntu8_amd64.deb
'
action=$1 dir=$2
shift 2
libraries=$dir/usr/lib/x86_64-linux-gnu

fetch() {
  [ -e "$dir/complete" ] && return
  mkdir -p "$dir"
  local sum path
  while read -r sum path; do
    [ -n "$sum" ] || continue
    python3 - "$archive/pool/main/$path" "$dir/package.deb" <<'PYTHON' || { echo "skipped: $archive does not answer"; exit 77; }
import sys
import urllib.request

try:
    data = urllib.request.urlopen(sys.argv[1], timeout=30).read()
except OSError:
    sys.exit(1)
open(sys.argv[2], "wb").write(data)
PYTHON
    echo "$sum  $dir/package.deb" | sha256sum --check --quiet
    dpkg-deb --extract "$dir/package.deb" "$dir"
  done <<<"$packages"
  rm "$dir/package.deb"
  touch "$dir/complete"
}

case $action in
  fetch) fetch ;;
  compile)
    cd "$(dirname "$0")/../.."
    for source in src/transport/verbs/*.cc; do
      "${CXX:-g++}" -std=c++20 -Wall -Wextra -Wpedantic -Werror -Wno-missing-field-initializers -fsyntax-only \
        -isystem "$dir/usr/include" -Isrc -Iinclude "$source"
    done
    echo "src/transport/verbs compiles with rdma-core 50"
    ;;
  run)
    # libibverbs looks for its providers in one fixed folder; only this one is asked for, as others lack libraries.
    HFREDUCE_LIBRARIES=$libraries exec unshare --mount bash -euc '
      mount --bind "$HFREDUCE_LIBRARIES/libibverbs" /usr/lib/x86_64-linux-gnu/libibverbs
      mount -t tmpfs none /etc/libibverbs.d
      echo "driver rxe" >/etc/libibverbs.d/rxe.driver
      program=$1
      shift
      exec "$HFREDUCE_LIBRARIES/ld-linux-x86-64.so.2" --library-path "$HFREDUCE_LIBRARIES" "$program" "$@"' - "$@"
    ;;
esac
