// Memory that a benchmark thread adds in: arrays that start on pages, as staging slots do.
#pragma once

#include <sys/mman.h>

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <vector>

namespace hfr_bench {

// On huge pages where the system gives them. Every byte is 0x30 to 0x3f or 0xb0 to 0xbf: finite
// and normal in every float type.
class Arena {
 public:
  explicit Arena(size_t bytes) : bytes_(bytes) {
    memory_ = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory_ == MAP_FAILED) {
      std::perror("no memory for the arrays");
      std::exit(1);
    }
    madvise(memory_, bytes, MADV_HUGEPAGE);
    fill(bytes);
  }
  ~Arena() { munmap(memory_, bytes_); }
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;

  // The first `bytes` as they were at first.
  void fill(size_t bytes) const {
    auto* words = static_cast<uint64_t*>(memory_);
    uint64_t x = 88172645463325252ull;
    for (size_t i = 0; i < bytes / sizeof(uint64_t); ++i) {
      x ^= x << 13;
      x ^= x >> 7;
      x ^= x << 17;
      words[i] = (x & 0x8f8f8f8f8f8f8f8full) | 0x3030303030303030ull;
    }
  }

  // The addresses of `num` arrays of `bytes` each, in a row.
  std::vector<void*> arrays(size_t num, size_t bytes) const {
    std::vector<void*> result;
    for (size_t i = 0; i < num; ++i) result.push_back(static_cast<char*>(memory_) + i * bytes);
    return result;
  }
  size_t bytes() const { return bytes_; }

 private:
  size_t bytes_;
  void* memory_;
};

// One arena a thread, made and first touched by the thread that uses it.
class Arenas {
 public:
  Arenas(int num_threads, size_t bytes_each)
      : arenas_(static_cast<size_t>(num_threads)), bytes_(bytes_each) {}
  const Arena& of(int thread) {
    auto& arena = arenas_[static_cast<size_t>(thread)];
    if (arena == nullptr) arena = std::make_unique<Arena>(bytes_);
    return *arena;
  }
  // Bytes of each of `num` arrays that together fill `bytes`, in whole pages.
  static size_t array_bytes(size_t bytes, size_t num) { return bytes / num / 4096 * 4096; }

 private:
  std::vector<std::unique_ptr<Arena>> arenas_;
  size_t bytes_;
};

}  // namespace hfr_bench
