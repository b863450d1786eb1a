#include "base/shared_memory.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "base/text.hpp"

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25  // Linux 6.1; older kernels answer EINVAL
#endif

namespace hfr {
namespace {

// Maps at a huge-page boundary, so that the kernel can use huge pages at all.
Result<std::byte*> map_aligned(int fd, size_t bytes) {
  size_t reserve = bytes + kHugePageBytes;
  void* base =
      mmap(nullptr, reserve, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (base == MAP_FAILED)
    return system_error(cat("reserving ", bytes_text(bytes), " of addresses"), errno);
  auto start = reinterpret_cast<uintptr_t>(base);
  uintptr_t aligned = round_up(start, kHugePageBytes);
  void* mapped = mmap(reinterpret_cast<void*>(aligned), bytes, PROT_READ | PROT_WRITE,
                      MAP_SHARED | MAP_FIXED | MAP_NORESERVE, fd, 0);
  if (mapped == MAP_FAILED) {
    int error = errno;
    munmap(base, reserve);
    return system_error(cat("mapping ", bytes_text(bytes), " of shared memory"), error);
  }
  if (aligned > start) munmap(base, aligned - start);
  uintptr_t end = aligned + round_up(bytes, kPageBytes);
  if (start + reserve > end) munmap(reinterpret_cast<void*>(end), start + reserve - end);
  return static_cast<std::byte*>(mapped);
}

}  // namespace

Result<SharedMemory> SharedMemory::create(const std::string& name, size_t bytes) {
  UniqueFd fd(memfd_create(name.c_str(), MFD_CLOEXEC));
  if (!fd.valid()) return system_error("memfd_create", errno);
  if (ftruncate(fd.get(), static_cast<off_t>(bytes)) != 0) {
    return system_error(cat("sizing shared memory to ", bytes_text(bytes)), errno);
  }
  return adopt(std::move(fd), bytes);
}

Result<SharedMemory> SharedMemory::adopt(UniqueFd fd, size_t bytes) {
  struct stat info {};
  if (fstat(fd.get(), &info) != 0) return system_error("fstat of shared memory", errno);
  if (static_cast<size_t>(info.st_size) < bytes) {
    return Status(Code::kInternalError,
                  cat("shared memory of ", info.st_size, " bytes, ", bytes, " expected"));
  }
  HFR_ASSIGN_OR_RETURN(std::byte * data, map_aligned(fd.get(), bytes));
  return SharedMemory(std::move(fd), data, bytes);
}

SharedMemory::SharedMemory(SharedMemory&& other) noexcept
    : fd_(std::move(other.fd_)),
      data_(std::exchange(other.data_, nullptr)),
      size_(std::exchange(other.size_, 0)) {}

SharedMemory& SharedMemory::operator=(SharedMemory&& other) noexcept {
  std::swap(fd_, other.fd_);
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  return *this;
}

SharedMemory::~SharedMemory() {
  if (data_ != nullptr) munmap(data_, size_);
}

bool SharedMemory::collapse(size_t offset, size_t bytes) const {
  size_t first = round_up(offset, kHugePageBytes);
  size_t last = (offset + bytes) / kHugePageBytes * kHugePageBytes;
  if (last <= first) return false;
  // Pages must exist before they can be joined.
  if (fallocate(fd_.get(), 0, static_cast<off_t>(first), static_cast<off_t>(last - first)) != 0) {
    return false;
  }
  return madvise(data_ + first, last - first, MADV_COLLAPSE) == 0;
}

Status SharedMemory::release(size_t offset, size_t bytes) const {
  if (fallocate(fd_.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, static_cast<off_t>(offset),
                static_cast<off_t>(bytes)) != 0) {
    return system_error(cat("returning ", bytes_text(bytes), " of shared memory"), errno);
  }
  return Status();
}

}  // namespace hfr
