#include "reduce/piece.hpp"

#include <algorithm>
#include <cstring>

#include "cpu/copy.hpp"
#include "cpu/demote.hpp"

namespace hfr {
namespace {

// A result on its way to a streaming destination is read back from the first-level cache.
constexpr size_t kBlockBytes = size_t{8} << 10;
// One that is demoted leaves the second-level cache long before that is full.
constexpr size_t kDemotedBlockBytes = size_t{16} << 10;

// Elements from `srcs` to `dsts`, which are the descriptor's or a place in them.
void add(const KernelTable& kernels, const ReduceDescriptor& work, const void* const* srcs,
         void* const* dsts, size_t count) {
  ReduceArgs args;
  args.dsts = dsts;
  args.num_dsts = work.num_dsts;
  args.srcs = srcs;
  args.num_srcs = work.num_srcs;
  args.count = count;
  args.divisor = work.divisor;
  args.streaming = work.streaming;
  args.from_memory = work.from_memory;
  // As kernels take them: packed, in the type that accumulates.
  alignas(uint64_t) std::byte scales[sizeof(work.scales)];
  if (work.op == Op::kPremulSum) {
    const size_t size = accumulator_size(work.dtype);
    for (int s = 0; s < work.num_srcs; ++s) {
      std::memcpy(scales + static_cast<size_t>(s) * size, &work.scales[s], size);
    }
    args.scales = scales;
  }
  kernels.reduce[static_cast<int>(work.dtype)][static_cast<int>(work.op)](args);
}

// From the descriptor's element `first` on.
void add_from(const KernelTable& kernels, const ReduceDescriptor& work, size_t first,
              size_t count) {
  const size_t offset = first * dtype_size(work.dtype);
  const void* srcs[ReduceDescriptor::kMaxSources];
  void* dsts[ReduceDescriptor::kMaxDestinations];
  for (int s = 0; s < work.num_srcs; ++s) {
    srcs[s] = static_cast<const std::byte*>(work.srcs[s]) + offset;
  }
  for (int d = 0; d < work.num_dsts; ++d) {
    dsts[d] = static_cast<std::byte*>(work.dsts[d]) + offset;
  }
  add(kernels, work, srcs, dsts, count);
}

// Block by block: what was added to the first destination goes on to the streaming one, or to the
// last cache.
void add_in_blocks(const KernelTable& kernels, const ReduceDescriptor& work, size_t first,
                   size_t count) {
  const size_t element = dtype_size(work.dtype);
  const size_t step = (work.demote ? kDemotedBlockBytes : kBlockBytes) / element;
  for (const size_t end = first + count; first < end; first += step) {
    const size_t size = std::min(step, end - first);
    add_from(kernels, work, first, size);
    const auto* added = static_cast<const std::byte*>(work.dsts[0]) + first * element;
    if (work.streaming_dst != nullptr) {
      copy_bytes(static_cast<std::byte*>(work.streaming_dst) + first * element, added,
                 size * element, true);
    }
    if (work.demote) demote(added, size * element);
  }
}

}  // namespace

void run_piece(const KernelTable& kernels, const ReduceDescriptor& work, size_t first,
               size_t count) {
  if (work.streaming_dst == nullptr && !work.demote) {
    // What a small message costs: the addresses were stored just now, one by one, and to load
    // several at once the processor would have to wait for them.
    if (first == 0) return add(kernels, work, work.srcs, work.dsts, count);
    return add_from(kernels, work, first, count);
  }
  add_in_blocks(kernels, work, first, count);
}

}  // namespace hfr
