// The direct path: one node, all buffers within reach. Each rank adds its slice of all inputs and
// writes it to all outputs: n reads and n writes of a slice, no staging. A slice of any buffer is
// touched by one rank only, so in place needs no extra care; the two meetings are the posts and the
// sliced counters.
#include <algorithm>

#include "engine/direct_guard.hpp"
#include "engine/executor.hpp"

namespace hfr {
namespace {

// A turn adds this much, so that other work and failures are seen in time.
constexpr size_t kBlockBytes = size_t{1} << 20;

// Bytes [begin, end) of `bytes` that local rank `rank` of `num` adds; whole cache lines but for the
// last.
std::pair<size_t, size_t> slice(size_t bytes, int rank, int num) {
  size_t lines = (bytes + kCacheLine - 1) / kCacheLine;
  auto cut = [&](int r) {
    return std::min(bytes, lines * static_cast<size_t>(r) / static_cast<size_t>(num) * kCacheLine);
  };
  return {cut(rank), cut(rank + 1)};
}

}  // namespace

bool Executor::step_direct(Operation& o) {
  bool moved = false;
  if (!o.added) {
    auto [begin, end] = slice(o.bytes, me_, num_local_);
    if (begin + o.slice_done < end) {
      DirectGuard guard(context_, true);
      if (!guard.allowed()) return false;
      size_t offset = begin + o.slice_done;
      size_t size = std::min(kBlockBytes, end - offset);
      ReduceDescriptor work;
      for (int r = 0; r < num_local_; ++r) {
        work.srcs[work.num_srcs++] = o.sends[static_cast<size_t>(r)] + offset;
        work.dsts[work.num_dsts++] = o.recvs[static_cast<size_t>(r)] + offset;
      }
      work.count = size / dtype_size(o.desc.dtype);
      work.dtype = o.desc.dtype;
      work.op = o.desc.op;
      work.divisor = context_.shape.num_ranks;
      work.streaming = o.bytes >= context_.limits.streaming_bytes;
      context_.pool.run(work);
      o.slice_done += size;
      moved = true;
    }
    if (begin + o.slice_done < end) return moved;
    o.added = true;
    context_.staging.sliced(me_).store(o.number + 1);
  }
  for (int r = 0; r < num_local_; ++r) {
    if (context_.staging.sliced(r).load() < o.number + 1) return moved;
  }
  o.state = OpState::kDone;
  return true;
}

}  // namespace hfr
