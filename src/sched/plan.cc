#include "sched/plan.hpp"

#include <algorithm>

namespace hfr {

namespace {

constexpr size_t kUnit = 64;  // whole cache lines, and a multiple of every element

constexpr size_t divide_up(size_t value, size_t divisor) {
  return value / divisor + (value % divisor != 0 ? 1 : 0);
}

}  // namespace

Chunking plan_chunks(const PlanInput& input) {
  const auto shares =
      2 * static_cast<size_t>(input.max_local_ranks) * static_cast<size_t>(input.num_trees);
  const size_t share = divide_up(divide_up(input.bytes, shares), kUnit) * kUnit;
  const size_t least = std::max(divide_up(input.min_chunk_bytes, kUnit), size_t{1}) * kUnit;
  Chunking chunking;
  chunking.bytes = input.bytes;
  chunking.chunk_bytes = std::clamp(share, std::min(least, input.slot_bytes), input.slot_bytes);
  chunking.num_chunks = std::max(divide_up(input.bytes, chunking.chunk_bytes), size_t{1});
  return chunking;
}

}  // namespace hfr
