// Plan: how one operation is cut into chunks. Pure, and the same on all ranks.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

namespace hfr {

struct PlanInput {
  size_t bytes = 0;
  int max_local_ranks = 1;  // of any node
  int num_trees = 1;
  size_t slot_bytes = 0;  // a multiple of 64
  size_t min_chunk_bytes = 4096;
};

// How a message is cut: into chunks of one size, the last of what is over.
struct Chunking {
  size_t bytes = 0;        // of the message
  size_t chunk_bytes = 0;  // of a whole chunk; a multiple of 64
  uint64_t num_chunks = 1;

  // Of chunk `idx`, in [0, num_chunks).
  size_t offset(uint64_t idx) const { return static_cast<size_t>(idx) * chunk_bytes; }
  size_t size(uint64_t idx) const { return std::min(chunk_bytes, bytes - offset(idx)); }
};

// Enough chunks that every owner and every tree has work twice over, so that the stages overlap,
// but none smaller than min_chunk_bytes nor larger than a slot. No bytes: one empty chunk, which
// still meets every rank.
Chunking plan_chunks(const PlanInput& input);

}  // namespace hfr
