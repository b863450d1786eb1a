// Counter: a monotonic 64-bit number alone on a cache line, in memory that ranks share.
#pragma once

#include <atomic>
#include <cstdint>

namespace hfr {

constexpr size_t kCacheLine = 64;

struct alignas(kCacheLine) Counter {
  std::atomic<uint64_t> value{0};

  uint64_t load() const { return value.load(std::memory_order_acquire); }
  // Everything that the caller wrote before is visible to whoever loads `v` or more.
  void store(uint64_t v) { value.store(v, std::memory_order_release); }
};
static_assert(sizeof(Counter) == kCacheLine);
static_assert(std::atomic<uint64_t>::is_always_lock_free, "counters are shared between processes");

}  // namespace hfr
