// PathTuner: learns, size by size, whether private buffers of the node's processes are better
// reached through the kernel or staged. Which is faster depends on the processor: what moving a
// dirty cache line between cores costs, and what a system call does; and on what else the machine
// is doing, so it is asked again now and then.
//
//   operations of a size class:  0 ... 9 | ... | 256 ... 265 | ... | 512 ... | ... | 1024 ... |
//                                lesson  |     |   lesson    |     | lesson  |     |  lesson  |
//
// In a lesson both ways are tried in turn; afterwards the faster one stays until the next. Ranks
// count the same operations, so they try the same way at the same time. What each learns is its
// own: an operation goes through the kernel only when all ranks offer that, so that they always
// agree, and both ways give the same bits.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>

namespace hfr {

class PathTuner {
 public:
  static constexpr uint64_t kTrials = 5;  // of each way; the first of them is not counted
  static constexpr uint64_t kFirstInterval = 256;
  static constexpr uint64_t kLongestInterval = 4096;

  // Sizes from `from_bytes` on are learnt; below, the kernel's way is always taken.
  explicit PathTuner(size_t from_bytes) : from_bytes_(from_bytes) {}

  bool learns(size_t bytes) const { return bytes >= from_bytes_; }

  // Once for each operation, in their order: what to offer for one of `bytes`. True: through the
  // kernel.
  bool offers_kernel(size_t bytes) {
    if (!learns(bytes)) return true;
    SizeClass& size = classes_[idx(bytes)];
    if (size.num_ops == size.next_lesson) {
      size.best_ns_per_mib = {kUnknown, kUnknown};
      size.num_trials = {};
      size.next_lesson += std::clamp(size.next_lesson, kFirstInterval, kLongestInterval);
      size.lesson_end = size.num_ops + 2 * kTrials;
    }
    const uint64_t number = size.num_ops++;
    if (number < size.lesson_end) return (size.lesson_end - number) % 2 == 0;
    if (number == size.lesson_end) size.decide();
    return size.by_kernel;
  }

  // An operation that had the engine to itself took so long.
  void record(size_t bytes, bool by_kernel, uint64_t ns) {
    SizeClass& size = classes_[idx(bytes)];
    const auto way = static_cast<size_t>(by_kernel);
    if (size.num_ops > size.lesson_end || size.num_trials[way]++ == 0) return;
    // Sizes of a class are compared by their rate.
    const double ns_per_mib = static_cast<double>(ns) / static_cast<double>(bytes) * kMiB;
    size.best_ns_per_mib[way] = std::min(size.best_ns_per_mib[way], ns_per_mib);
  }

 private:
  static constexpr double kMiB = 1 << 20;
  static constexpr double kUnknown = 1e300;

  struct SizeClass {
    uint64_t num_ops = 0;
    uint64_t next_lesson = 0;
    uint64_t lesson_end = 0;
    // Of the present lesson, [1]: through the kernel.
    std::array<uint64_t, 2> num_trials{};
    std::array<double, 2> best_ns_per_mib{kUnknown, kUnknown};
    bool by_kernel = true;  // until the next lesson is over

    // Operations that had others beside them were not timed: without any of a way all stays.
    void decide() {
      if (best_ns_per_mib[0] == kUnknown || best_ns_per_mib[1] == kUnknown) return;
      by_kernel = best_ns_per_mib[1] <= best_ns_per_mib[0];
    }
  };

  static size_t idx(size_t bytes) { return static_cast<size_t>(std::bit_width(bytes)); }

  size_t from_bytes_;
  std::array<SizeClass, 65> classes_{};
};

}  // namespace hfr
