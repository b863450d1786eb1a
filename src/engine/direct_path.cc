// The direct path: one node, all buffers within reach. Each rank adds its slice of all inputs and
// writes it to all outputs: n reads and n writes of a slice, no staging. A slice of any buffer is
// touched by one rank only, so in place needs no extra care; the two meetings are the posts and the
// sliced counters.
//
// Buffers are reached by loads and stores (heap, threads of one process) or else by the kernel,
// block by block: pulled into a scratch that stays in this core's cache, and pushed out of it.
#include <algorithm>

#include "base/text.hpp"
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
      size_t size =
          std::min(o.by_kernel ? context_.peer_memory.block_bytes() : kBlockBytes, end - offset);
      const uint64_t began_ns = size >= kTimedCopyBytes ? context_.clock.now_ns() : 0;
      if (!add_block(o, offset, size)) return false;
      meters_.of(Stage::kDirectAdd).count(size);
      if (began_ns != 0) meters_.of(Stage::kDirectAdd).time(context_.clock.now_ns() - began_ns);
      o.slice_done += size;
      moved = true;
    }
    if (begin + o.slice_done < end) return moved;
    o.added = true;
    record_slice(o, record::SpanStage::kAdd, context_.shape.rank);
    context_.staging.sliced(me_).store(o.number + 1);
  }
  for (int r = 0; r < num_local_; ++r) {
    if (context_.staging.sliced(r).load() >= o.number + 1) continue;
    o.waited_for = r;
    return moved;
  }
  record_slice(o, record::SpanStage::kSlices,
               o.waited_for < 0 ? -1 : context_.shape.nodes[context_.shape.node][o.waited_for]);
  o.state = OpState::kDone;
  return true;
}

void Executor::record_slice(Operation& o, record::SpanStage stage, int rank) {
  if (o.stage_began_ns == 0) return;
  o.stage_began_ns = context_.recorder->span_until_now(
      {stage, rank, o.number, 0, o.bytes / static_cast<size_t>(num_local_)}, o.stage_began_ns);
}

bool Executor::add_block(const Operation& o, size_t offset, size_t size) {
  const PeerMemory& peers = context_.peer_memory;
  ReduceDescriptor work;
  for (int r = 0; r < num_local_; ++r) {
    auto idx = static_cast<size_t>(r);
    const std::byte* send = o.sends[idx] != nullptr ? o.sends[idx] + offset : peers.scratch(r);
    if (o.sends[idx] == nullptr &&
        !peers.pull(r, o.peer_sends[idx] + offset, peers.scratch(r), size)) {
      return fail_reaching(o, r, "read the input");
    }
    work.scales[work.num_srcs] = o.scales[idx];
    work.srcs[work.num_srcs++] = send;
    if (o.recvs[idx] != nullptr) work.dsts[work.num_dsts++] = o.recvs[idx] + offset;
  }
  work.count = size / dtype_size(o.desc.dtype);
  work.dtype = o.desc.dtype;
  work.op = o.desc.op;
  work.divisor = context_.shape.num_ranks;
  // What the kernel pulls and pushes stays in the caches meanwhile.
  work.streaming = o.bytes >= context_.limits.streaming_bytes && !o.by_kernel;
  work.from_memory = work.streaming;
  context_.pool.run(work);
  const std::byte* sum = o.recvs[static_cast<size_t>(me_)] + offset;
  for (int r = 0; r < num_local_; ++r) {
    auto idx = static_cast<size_t>(r);
    if (o.recvs[idx] == nullptr && !peers.push(r, o.peer_recvs[idx] + offset, sum, size)) {
      return fail_reaching(o, r, "write the result");
    }
  }
  return true;
}

bool Executor::fail_reaching(const Operation& o, int local_rank, const char* what) {
  const Shape& shape = context_.shape;
  int rank = shape.nodes[static_cast<size_t>(shape.node)][static_cast<size_t>(local_rank)];
  fail({Status(Code::kRemoteError, cat("operation #", o.number, ": rank ", shape.rank, " cannot ",
                                       what, " of rank ", rank, " (node ", shape.node,
                                       "): that process has ended or given the buffer up")),
        rank});
  return false;
}

}  // namespace hfr
