// Limits: loops that move a kernel's bytes with the least arithmetic that still uses them. What the
// kernels reach is given as a ratio to the best of these in the same run.
#pragma once

#include <cstddef>
#include <span>

#include "base/types.hpp"

namespace hfr_bench {

// dst[i] = srcs[0][i] ^ srcs[1][i] ^ ..., or with dst null only read. `count`: bytes, a multiple of
// 512.
using LimitLoop = void (*)(void* dst, const void* const* srcs, int num_srcs, size_t count);

struct Limit {
  const char* name;
  LimitLoop run;
};

// Those that use no more than the instructions which adding `dtype` takes (sums are rubbish).
// Empty: nothing is known for this type and processor.
std::span<const Limit> instruction_limits(hfr::DType dtype);

// Those with the widest vectors that this processor has.
std::span<const Limit> streaming_limits();  // past the caches, with several prefetch distances
std::span<const Limit> cached_limits();     // what the load and store ports deliver

}  // namespace hfr_bench
