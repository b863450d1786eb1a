#include "reduce/inline_pool.hpp"

#include <algorithm>

namespace hfr {

void InlinePool::run(const ReduceDescriptor& work) {
  ReduceArgs args;
  args.dsts = work.dsts;
  args.num_dsts = work.num_dsts;
  args.srcs = work.srcs;
  args.num_srcs = work.num_srcs;
  args.count = work.count;
  args.divisor = work.divisor;
  args.streaming = work.streaming;
  kernels_.reduce[static_cast<int>(work.dtype)][static_cast<int>(work.op)](args);
}

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
