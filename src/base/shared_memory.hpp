// SharedMemory: a memfd, mapped. Never /dev/shm, which containers keep small.
#pragma once

#include <cstddef>
#include <string>

#include "base/net.hpp"
#include "base/status.hpp"

namespace hfr {

// A mapping of a memfd that other processes may map too. Memory is committed when first touched, so
// a large sparse one costs nothing.
class SharedMemory {
 public:
  // A new memfd of `bytes`, zeroed.
  static Result<SharedMemory> create(const std::string& name, size_t bytes);
  // Takes over a descriptor received from another process.
  static Result<SharedMemory> adopt(UniqueFd fd, size_t bytes);

  SharedMemory() = default;
  SharedMemory(SharedMemory&& other) noexcept;
  SharedMemory& operator=(SharedMemory&& other) noexcept;
  ~SharedMemory();

  std::byte* data() const { return data_; }
  size_t size() const { return size_; }
  int fd() const { return fd_.get(); }

  // Asks for huge pages in [offset, offset + bytes), best effort. True when the system granted
  // them.
  bool collapse(size_t offset, size_t bytes) const;
  // Gives the pages of [offset, offset + bytes) back; they read as zero afterwards.
  Status release(size_t offset, size_t bytes) const;

 private:
  SharedMemory(UniqueFd fd, std::byte* data, size_t size)
      : fd_(std::move(fd)), data_(data), size_(size) {}

  UniqueFd fd_;
  std::byte* data_ = nullptr;
  size_t size_ = 0;
};

constexpr size_t kPageBytes = 4096;
constexpr size_t kHugePageBytes = size_t{2} << 20;

constexpr size_t round_up(size_t value, size_t multiple) {
  return (value + multiple - 1) / multiple * multiple;
}

}  // namespace hfr
