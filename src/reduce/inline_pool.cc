#include "reduce/inline_pool.hpp"

#include <algorithm>

#include "cpu/copy.hpp"

namespace hfr {
namespace {

// A result on its way to a streaming destination is read back from the first-level cache.
constexpr size_t kBlockBytes = size_t{8} << 10;

}  // namespace

void InlinePool::run(const ReduceDescriptor& work) {
  if (work.streaming_dst != nullptr) {
    run_in_blocks(work);
  } else {
    run_whole(work);
  }
}

void InlinePool::run_in_blocks(const ReduceDescriptor& work) {
  ReduceDescriptor block = work;
  block.streaming_dst = nullptr;
  const size_t element = dtype_size(work.dtype);
  const size_t step = kBlockBytes / element;
  for (size_t first = 0; first < work.count; first += step) {
    block.count = std::min(step, work.count - first);
    const size_t offset = first * element;
    for (int s = 0; s < work.num_srcs; ++s) {
      block.srcs[s] = static_cast<const std::byte*>(work.srcs[s]) + offset;
    }
    for (int d = 0; d < work.num_dsts; ++d) {
      block.dsts[d] = static_cast<std::byte*>(work.dsts[d]) + offset;
    }
    run_whole(block);
    copy_bytes(static_cast<std::byte*>(work.streaming_dst) + offset, block.dsts[0],
               block.count * element, true);
  }
}

void InlinePool::run_whole(const ReduceDescriptor& work) {
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
