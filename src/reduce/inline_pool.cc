#include "reduce/inline_pool.hpp"

#include <algorithm>

#include "reduce/piece.hpp"

namespace hfr {

void InlinePool::run(const ReduceDescriptor& work) { run_piece(kernels_, work, 0, work.count); }

bool InlinePool::submit(const ReduceDescriptor& work, Token token) {
  if (num_done_ == kCapacity) return false;
  run(work);
  done_[num_done_++] = token;
  return true;
}

size_t InlinePool::poll(std::span<Token> done) {
  size_t count = std::min(done.size(), num_done_);
  for (size_t i = 0; i < count; ++i) done[i] = done_[--num_done_];
  return count;
}

}  // namespace hfr
