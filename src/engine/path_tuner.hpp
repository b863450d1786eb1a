// PathTuner: learns, size by size, whether private buffers of the node's processes are better
// reached through the kernel or staged. Which is faster depends on the processor: what moving a
// dirty cache line between cores costs, and what a system call does.
//
// The first operations of a size class try both ways in turn; afterwards the faster one stays. Each
// rank learns by itself: an operation goes through the kernel only when all ranks offer that, so
// that they always agree, and both ways give the same bits.
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>

namespace hfr {

class PathTuner {
 public:
  static constexpr uint32_t kTrials = 5;  // of each way; the first of them is not counted

  // Sizes from `from_bytes` on are learnt; below, the kernel's way is always taken.
  explicit PathTuner(size_t from_bytes) : from_bytes_(from_bytes) {}

  bool learns(size_t bytes) const { return bytes >= from_bytes_; }

  // What to offer for an operation of `bytes`: true: through the kernel.
  bool offers_kernel(size_t bytes) const {
    if (!learns(bytes)) return true;
    const SizeClass& size = classes_[idx(bytes)];
    const Way& kernel = size[1];
    const Way& staged = size[0];
    if (kernel.num_trials < kTrials || staged.num_trials < kTrials) {
      return kernel.num_trials <= staged.num_trials;
    }
    return kernel.best_ns_per_mib <= staged.best_ns_per_mib;
  }

  // An operation that had the engine to itself took so long.
  void record(size_t bytes, bool by_kernel, uint64_t ns) {
    Way& way = classes_[idx(bytes)][by_kernel ? 1 : 0];
    if (way.num_trials == kTrials) return;
    // Sizes of a class are compared by their rate.
    const double ns_per_mib = static_cast<double>(ns) / static_cast<double>(bytes) * kMiB;
    if (way.num_trials > 0 && ns_per_mib < way.best_ns_per_mib) way.best_ns_per_mib = ns_per_mib;
    ++way.num_trials;
  }

 private:
  static constexpr double kMiB = 1 << 20;
  struct Way {
    uint32_t num_trials = 0;
    double best_ns_per_mib = 1e300;
  };
  using SizeClass = std::array<Way, 2>;  // [1]: through the kernel

  static size_t idx(size_t bytes) { return static_cast<size_t>(std::bit_width(bytes)); }

  size_t from_bytes_;
  std::array<SizeClass, 65> classes_{};
};

}  // namespace hfr
