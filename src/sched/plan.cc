#include "sched/plan.hpp"

#include <algorithm>

namespace hfr {

Chunking plan_chunks(const PlanInput& input) {
  constexpr size_t kUnit = 64;  // whole cache lines, and a multiple of every element
  auto round_up = [](size_t value) { return (value + kUnit - 1) / kUnit * kUnit; };
  const auto shares = static_cast<size_t>(2 * input.max_local_ranks * input.num_trees);
  size_t chunk = round_up((input.bytes + shares - 1) / shares);
  chunk = std::clamp(chunk, std::min(round_up(input.min_chunk_bytes), input.slot_bytes), input.slot_bytes);
  Chunking chunking;
  chunking.chunk_bytes = chunk;
  chunking.num_chunks = input.bytes == 0 ? 1 : (input.bytes + chunk - 1) / chunk;
  return chunking;
}

}  // namespace hfr
