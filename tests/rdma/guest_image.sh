#!/usr/bin/env bash
# Makes what the virtual machine boots, from the package of Debian's stock kernel: DIR/kernel, and DIR/modules.cpio with
# busybox and the modules that the guest loads. Does nothing when both are there and no older than this script.
# usage: guest_image.sh DIR      exits 77, with the reason, where this cannot be done
set -euo pipefail
dir=$1
export PATH=$PATH:/usr/sbin:/sbin

cannot() { echo "no guest image: $*"; exit 77; }

mkdir -p "$dir" 2>/dev/null && [ -w "$dir" ] || cannot "$dir cannot be written"
exec 9>"$dir/lock"
flock 9
[ "$dir/modules.cpio" -nt "$0" ] && exit 0

work=$(mktemp -d "$dir/work.XXXXXX")
trap 'rm -rf "$work"' EXIT

kernel_package() {
  apt-cache depends linux-image-amd64 2>/dev/null | sed -n 's/.*Depends: \(linux-image-[0-9].*\)/\1/p' | head -n 1
}
download() {
  package=$(kernel_package)
  [ -n "$package" ] && (cd "$work" && apt-get download "$package" >/dev/null 2>&1)
}
# Package lists may be absent or older than the archive; only root can renew them.
download || { [ "$(id -u)" -eq 0 ] && apt-get update -qq >/dev/null 2>&1 && download; } ||
  cannot "the package that linux-image-amd64 stands for cannot be downloaded (Debian's archive has it; try apt-get update)"

version=${package#linux-image-}
mkdir "$work/package" "$work/root"
dpkg-deb --extract "$work/$package"_*.deb "$work/package"
depmod -b "$work/package" "$version"

# The kernel as it is before it is packed for a boot loader: it boots in half the time.
python3 - "$work/package/boot/vmlinuz-$version" "$work/kernel" <<'PYTHON'
import lzma
import shutil
import sys

packed, plain = sys.argv[1:]
image = open(packed, "rb").read()
field = lambda offset: int.from_bytes(image[offset : offset + 4], "little")
# Linux's boot protocol: setup_sects at 0x1f1, payload_offset at 0x248, payload_length at 0x24c.
start = ((image[0x1F1] or 4) + 1) * 512 + field(0x248)
try:
    kernel = lzma.LZMADecompressor().decompress(image[start : start + field(0x24C)])
    open(plain, "wb").write(kernel)
except lzma.LZMAError:
    shutil.copy(packed, plain)  # packed otherwise: it boots as it is
PYTHON

mkdir -p "$work/root"/{bin,dev,proc,sys,host,modules}
cp "$(command -v busybox)" "$work/root/bin/busybox"
# What the guest needs, each with what it depends on, in the order of loading. rdma_rxe computes checksums by name.
for module in crc32c_generic crc32_generic virtio_pci 9p 9pnet_virtio rdma_rxe veth bridge sch_netem; do
  modprobe -d "$work/package" -S "$version" --show-depends "$module" 2>/dev/null
done | awk '$1 == "insmod" && !seen[$2]++ { print $2 }' >"$work/list"
grep -q rdma_rxe "$work/list" || cannot "$package has no soft-RoCE driver"
while read -r module; do
  name=$(basename "${module%.xz}")
  case $module in
    *.xz) xz -dc "$module" >"$work/root/modules/$name" ;;
    *) cp "$module" "$work/root/modules/$name" ;;
  esac
  echo "$name" >>"$work/root/modules/order"
done <"$work/list"
(cd "$work/root" && find . | cpio --create --format=newc --quiet) >"$work/modules.cpio"
mv "$work/kernel" "$dir/kernel"
mv "$work/modules.cpio" "$dir/modules.cpio"
