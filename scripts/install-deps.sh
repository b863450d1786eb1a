#!/usr/bin/env bash
# Installs the Debian or Ubuntu packages that HFReduce needs, and nothing when all are there.
# usage: scripts/install-deps.sh [--ci]      --ci: also what .ci/run needs (clang, clang-format, spin, Arm's compiler and emulator,
#                                            and the virtual machine of tests/rdma)
set -euo pipefail

packages=(g++ cmake ninja-build pkg-config python3 libhwloc-dev libsodium-dev libibverbs-dev libhwy-dev libgtest-dev libgmock-dev
  libbenchmark-dev libcli11-dev nlohmann-json3-dev)
if [ "${1:-}" = --ci ]; then
  packages+=(git clang clang-format g++-aarch64-linux-gnu qemu-user googletest spin
    qemu-system-x86 busybox-static cpio kmod iproute2 xz-utils ibverbs-providers strace)
  # clang's sanitizer run-time, under the name that this release gives it.
  packages+=("$(apt-cache show libclang-rt-dev >/dev/null 2>&1 && echo libclang-rt-dev || echo libclang-rt-14-dev)")
fi

missing=()
for package in "${packages[@]}"; do
  status=$(dpkg-query -W -f='${Status}' "$package" 2>/dev/null || true)
  [ "$status" = "install ok installed" ] || missing+=("$package")
done
[ ${#missing[@]} -eq 0 ] && exit 0

echo "installing: ${missing[*]}"
root=()
if [ "$(id -u)" -ne 0 ]; then
  if ! command -v sudo >/dev/null; then
    echo "error: these packages are missing, and neither root nor sudo is there to install them: ${missing[*]}" >&2
    exit 1
  fi
  root=(sudo)
fi
"${root[@]}" apt-get update -qq
"${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
