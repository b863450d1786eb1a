// GpuMemory: whether an address is memory of a GPU that the CPU cannot reach. For ranks in host
// memory, which have no driver: it asks the one that the caller has loaded, if any.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

namespace hfr {

class GpuMemory {
 public:
  // Any thread. About a nanosecond for a page that was asked for lately; a microsecond for others
  // where the caller has loaded a driver, and a fifth of that where not.
  bool contains(const void* address) {
    const uintptr_t page = reinterpret_cast<uintptr_t>(address) >> kPageBits;
    std::atomic<uintptr_t>& known = host_pages_[page % kPages];
    if (known.load(std::memory_order_relaxed) == page) return false;
    if (ask(address)) return true;
    known.store(page, std::memory_order_relaxed);
    return false;
  }

 private:
  static constexpr int kPageBits = 12;
  static constexpr size_t kPages = 256;
  static bool ask(const void* address);

  std::array<std::atomic<uintptr_t>, kPages> host_pages_{};  // found to be host memory
};

}  // namespace hfr
