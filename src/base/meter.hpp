// Meters: numbers that one thread at a time raises, and that any thread may read at any time.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>

namespace hfr {

class Meter {
 public:
  // Without a locked instruction: whoever adds has the meter to itself.
  void add(uint64_t n) {
    value_.store(value_.load(std::memory_order_relaxed) + n, std::memory_order_relaxed);
  }
  uint64_t load() const { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<uint64_t> value_{0};
};

// Bucket i has the times up to 4096 * 4^i ns that are in no earlier one; the last has all others.
constexpr size_t kTimeBuckets = 12;
constexpr uint64_t time_bucket_limit_ns(size_t bucket) { return uint64_t{4096} << (2 * bucket); }
constexpr size_t time_bucket(uint64_t ns) {
  const int bits = static_cast<int>(std::bit_width(std::max<uint64_t>(ns, 1) - 1));
  const int bucket = bits <= 12 ? 0 : (bits - 11) / 2;
  return std::min<size_t>(static_cast<size_t>(bucket), kTimeBuckets - 1);
}

// What a stage has done so far, as read at one moment.
struct StageTotals {
  uint64_t count = 0;
  uint64_t bytes = 0;
  uint64_t timed = 0;  // those of `count` whose time was taken
  uint64_t time_ns = 0;
  std::array<uint64_t, kTimeBuckets> buckets{};  // of `timed`
};

class StageMeter {
 public:
  void count(uint64_t bytes) {
    count_.add(1);
    bytes_.add(bytes);
  }
  void time(uint64_t ns) {
    time_ns_.add(ns);
    buckets_[time_bucket(ns)].add(1);
  }

  StageTotals totals() const {
    StageTotals totals;
    totals.count = count_.load();
    totals.bytes = bytes_.load();
    totals.time_ns = time_ns_.load();
    for (size_t i = 0; i < kTimeBuckets; ++i) {
      totals.buckets[i] = buckets_[i].load();
      totals.timed += totals.buckets[i];
    }
    return totals;
  }

 private:
  Meter count_;
  Meter bytes_;
  Meter time_ns_;
  std::array<Meter, kTimeBuckets> buckets_;
};

}  // namespace hfr
