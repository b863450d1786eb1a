// HostPages: addresses whose pages were found to be host memory lately. Any thread.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

namespace hfr {

class HostPages {
 public:
  // The latest so many pages are known for certain, and most of some hundred before.
  static constexpr size_t kCertain = 4;

  bool contains(const void* address) const {
    const uintptr_t page = page_of(address);
    for (const std::atomic<uintptr_t>& known : sets_[set_of(page)]) {
      if (known.load(std::memory_order_relaxed) == page) return true;
    }
    return false;
  }

  void add(const void* address) {
    const uintptr_t page = page_of(address);
    Set& set = sets_[set_of(page)];
    for (size_t i = kCertain - 1; i > 0; --i) {
      set[i].store(set[i - 1].load(std::memory_order_relaxed), std::memory_order_relaxed);
    }
    set[0].store(page, std::memory_order_relaxed);
  }

 private:
  static constexpr int kPageBits = 12;
  static constexpr int kSetBits = 6;
  using Set = std::array<std::atomic<uintptr_t>, kCertain>;  // the latest first

  static uintptr_t page_of(const void* address) {
    return reinterpret_cast<uintptr_t>(address) >> kPageBits;
  }
  // Buffers often lie a power of two apart, so all bits of the page take part.
  static size_t set_of(uint64_t page) {
    return static_cast<size_t>((page * 0x9e3779b97f4a7c15u) >> (64 - kSetBits));
  }

  std::array<Set, size_t{1} << kSetBits> sets_{};
};

}  // namespace hfr
