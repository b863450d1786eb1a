// Plan: how one operation is cut into chunks. Pure, and the same on all ranks.
#pragma once

#include <cstddef>
#include <cstdint>

namespace hfr {

struct PlanInput {
  size_t bytes = 0;
  int max_local_ranks = 1;  // of any node
  int num_trees = 1;
  size_t slot_bytes = 0;  // a multiple of 64
  size_t min_chunk_bytes = 4096;
  // 0: all chunks are alike. Else chunk sizes double from about here at the operation's beginning,
  // and halve to there at its end.
  size_t first_chunk_bytes = 0;
};

// How a message is cut.
//
//   num_ramp 2:   |1|2 |4   |4   |4   |rest|2 |1|      in quarters of chunk_bytes
//
// The pipeline's first stage works alone until the first chunk is through, and its last stage works
// alone on the last one: small chunks at both ends keep that short, large ones between cost less
// each.
struct Chunking {
  size_t bytes = 0;        // of the message
  size_t chunk_bytes = 0;  // of a whole chunk; a multiple of 64 << num_ramp
  uint64_t num_chunks = 1;
  int num_ramp = 0;  // smaller chunks at either end

  // Of chunk `idx`, in [0, num_chunks).
  size_t offset(uint64_t idx) const;
  size_t size(uint64_t idx) const { return end(idx) - offset(idx); }

 private:
  size_t end(uint64_t idx) const { return idx + 1 == num_chunks ? bytes : offset(idx + 1); }
};

// Enough chunks that every owner and every tree has work twice over, so that the stages overlap,
// but none smaller than min_chunk_bytes nor larger than a slot. No bytes: one empty chunk, which
// still meets every rank.
Chunking plan_chunks(const PlanInput& input);

}  // namespace hfr
