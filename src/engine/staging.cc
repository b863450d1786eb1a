#include "engine/staging.hpp"

namespace hfr {

Staging::Staging(const StagingShape& shape, std::byte* memory) : shape_(shape), memory_(memory) {
  auto local = static_cast<size_t>(shape.num_local);
  auto window = static_cast<size_t>(shape.window);
  posts_offset_ = round_up(sizeof(FailureCell), kPageBytes);
  // One line more than a power of two, so that ranks' posts do not share cache sets.
  post_stride_ =
      round_up(sizeof(Post) - Post::kInlineBytes + shape.flat_bytes, kCacheLine) + kCacheLine;
  counters_offset_ = round_up(posts_offset_ + local * kPostRing * post_stride_, kPageBytes);
  size_t num_counters = 4 * local + window * static_cast<size_t>(counters_per_lane());
  board_offset_ = round_up(counters_offset_ + num_counters * sizeof(Counter), kPageBytes);
  lanes_offset_ = round_up(board_offset_ + shape.board_bytes, kHugePageBytes);
  // A page and a few lines more than a power of two: slots that are added together would push each
  // other out of the caches (measured: docs/kernels.md).
  slot_stride_ = round_up(shape.slot_bytes, kCacheLine) + kPageBytes + 4 * kCacheLine;
  lane_stride_ = (local + 1 + static_cast<size_t>(shape.num_children)) * slot_stride_ +
                 static_cast<size_t>(shape.num_rounds) * 2 * shape.round_bytes;
  lane_stride_ = round_up(lane_stride_, kPageBytes);
  total_bytes_ = round_up(lanes_offset_ + window * lane_stride_, kHugePageBytes);
}

size_t Staging::bytes_needed(const StagingShape& shape) {
  return Staging(shape, nullptr).total_bytes_;
}

}  // namespace hfr
