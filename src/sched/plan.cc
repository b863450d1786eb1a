#include "sched/plan.hpp"

#include <algorithm>

namespace hfr {

namespace {

constexpr size_t kUnit = 64;  // whole cache lines, and a multiple of every element
constexpr int kMaxRamp = 8;

constexpr size_t divide_up(size_t value, size_t divisor) {
  return value / divisor + (value % divisor != 0 ? 1 : 0);
}

// The `num` smallest chunks of a ramp together: 1 + 2 + 4 ... times the smallest.
constexpr size_t ramp_bytes(const Chunking& chunking, uint64_t num) {
  return (chunking.chunk_bytes >> chunking.num_ramp) * ((size_t{1} << num) - 1);
}

// Chunks begin on whole cache lines; the very last one takes what is over.
constexpr size_t even_end(const Chunking& chunking) { return chunking.bytes / kUnit * kUnit; }

// As many steps as lead from about `first` to a whole chunk, while whole chunks remain between the
// ramps.
void add_ramp(size_t first, Chunking& chunking) {
  const size_t whole = chunking.chunk_bytes;
  int num = 0;
  while (num < kMaxRamp && whole >> (num + 1) >= first) ++num;
  const size_t even = whole & ~((kUnit << num) - 1);
  if (even == 0 || chunking.bytes < 3 * whole) return;
  chunking.chunk_bytes = even;
  chunking.num_ramp = num;
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
  if (input.first_chunk_bytes > 0) add_ramp(input.first_chunk_bytes, chunking);
  const auto ramp = static_cast<uint64_t>(chunking.num_ramp);
  const size_t rest = ramp == 0 ? input.bytes : even_end(chunking) - 2 * ramp_bytes(chunking, ramp);
  chunking.num_chunks = 2 * ramp + divide_up(rest, chunking.chunk_bytes);
  chunking.num_chunks = std::max(chunking.num_chunks, uint64_t{1});
  return chunking;
}

size_t Chunking::offset(uint64_t idx) const {
  const auto ramp = static_cast<uint64_t>(num_ramp);
  const uint64_t left = num_chunks - idx;  // this one included
  if (idx < ramp) return ramp_bytes(*this, idx);
  if (left <= ramp) return even_end(*this) - ramp_bytes(*this, left);
  return ramp_bytes(*this, ramp) + static_cast<size_t>(idx - ramp) * chunk_bytes;
}

}  // namespace hfr
