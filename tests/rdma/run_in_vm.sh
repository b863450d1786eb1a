#!/usr/bin/env bash
# Runs a command in a virtual machine with the host's root mounted read-only, in this directory and environment, with
# NODES emulated nodes that have a software RDMA device each (guest_nodes.sh), and ends with the command's exit status:
# 77, with the reason, when the machine cannot be had, 124 when it took longer than SECONDS.
# usage: run_in_vm.sh [-n NODES] [-t SECONDS] [-i IMAGE_DIR] [-s CPUS] -- COMMAND...
# HFREDUCE_RDMA_REQUIRED=1 makes 77 a failure; HFREDUCE_RDMA_KVM=0 emulates the processor even where KVM works.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
export PATH=$PATH:/usr/sbin:/sbin
nodes=2 seconds=240 cpus=4 image=${TMPDIR:-/tmp}/hfreduce-rdma-$(id -u)
while [ $# -gt 0 ]; do
  case $1 in
    -n) nodes=$2; shift 2 ;;
    -t) seconds=$2; shift 2 ;;
    -i) image=$2; shift 2 ;;
    -s) cpus=$2; shift 2 ;;
    --) shift; break ;;
    *) echo "run_in_vm.sh: $1 is not an option; usage: run_in_vm.sh [-n NODES] [-t SECONDS] [-i IMAGE_DIR] [-s CPUS] -- COMMAND..."; exit 2 ;;
  esac
done
[ $# -gt 0 ] || { echo "run_in_vm.sh: no command"; exit 2; }

skip() {
  if [ "${HFREDUCE_RDMA_REQUIRED:-0}" = 1 ]; then
    echo "FAILED: HFREDUCE_RDMA_REQUIRED=1, but: $*"
    exit 1
  fi
  echo "skipped: $*"
  exit 77
}

[ "$(uname -m)" = x86_64 ] || skip "the virtual machine is x86-64"
missing=
for need in qemu-system-x86_64:qemu-system-x86 busybox:busybox-static cpio:cpio modprobe:kmod rdma:iproute2 \
  chrt:util-linux python3:python3; do
  command -v "${need%%:*}" >/dev/null || missing+=" ${need##*:}"
done
ls /usr/lib/x86_64-linux-gnu/libibverbs/librxe-rdmav*.so >/dev/null 2>&1 || missing+=" ibverbs-providers"
# The guest's first program stands alone.
if ldd "$(command -v busybox)" >/dev/null 2>&1; then missing+=" busybox-static"; fi
[ -z "$missing" ] || skip "these packages are missing:$missing"
reason=$("$here/guest_image.sh" "$image" 2>&1) || skip "$reason"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/root"
cp "$here/guest_init" "$work/root/init"
{
  export -p | grep -vE '^declare -[a-z]+ (PWD|OLDPWD|SHLVL|TMPDIR|HOME|LD_PRELOAD)\b' || true
  echo "export HOME=/root TMPDIR=/dev/shm"
  printf '. %q/guest_nodes.sh && make_nodes %q || exit 125\n' "$here" "$nodes"
  printf 'cd %q && exec' "$PWD"
  printf ' %q' "$@"
  echo
} >"$work/root/command"
# A kernel unpacks archives that follow each other.
(cd "$work/root" && find . | cpio --create --format=newc --quiet) | cat "$image/modules.cpio" - >"$work/initramfs"

options="console=ttyS0 quiet panic=-1 mitigations=off nokaslr audit=0"
case "$PWD/ $here $*" in /tmp/* | *" /tmp/"*) options+=" host_tmp" ;; esac

# boot SECONDS ACCELERATOR... : status of the guest's command, or of timeout.
boot() {
  local limit=$1 status=0
  shift
  timeout -k 5 "$limit" qemu-system-x86_64 "$@" -machine q35 -smp "$cpus" -m 1024 -nodefaults -no-user-config -no-reboot \
    -display none -monitor none -serial stdio -kernel "$image/kernel" -initrd "$work/initramfs" -append "$options" \
    -device isa-debug-exit,iobase=0x501,iosize=2 -device virtio-9p-pci,fsdev=host,mount_tag=host \
    -fsdev local,id=host,path=/,security_model=none,readonly=on,multidevs=remap </dev/null || status=$?
  case $status in 124 | 137) return 124 ;; 0) return 126 ;; esac
  [ $((status % 2)) -eq 1 ] && return $((status / 2)) || return 126
}
# A machine may offer /dev/kvm and yet boot nothing with it.
kvm_works() {
  [ "${HFREDUCE_RDMA_KVM:-1}" = 1 ] && [ -w /dev/kvm ] && grep -qwE 'vmx|svm' /proc/cpuinfo &&
    options="$options only_boot" boot 20 "${kvm[@]}" >/dev/null 2>&1
}
kvm=(-accel kvm -cpu host)
accelerator=(-accel "tcg,thread=multi,tb-size=256" -cpu max)
if kvm_works; then accelerator=("${kvm[@]}"); fi

echo "virtual machine: $nodes nodes, ${accelerator[1]}"
status=0
boot "$seconds" "${accelerator[@]}" 2>&1 | tr -d '\r' || status=${PIPESTATUS[0]}
case $status in
  124) echo "virtual machine: no end within $seconds s" ;;
  125) skip "the guest's kernel did not make the devices" ;;
  126) echo "virtual machine: it did not boot" ;;
esac
exit "$status"
