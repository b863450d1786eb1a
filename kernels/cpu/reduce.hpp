// The CPU reduction kernels: n-ary, stateless, one body compiled per instruction set.
//
// Accumulation: fp16, bf16 and fp8 in FP32, rounded once to nearest even; other types in
// themselves; integers wrap. MIN and MAX of floats return NaN when any input is NaN. A result that
// is NaN is the positive quiet one without payload; a number too large for E4M3, which has no
// infinity, becomes a NaN of its sign. AVG divides the sum by `divisor` before it rounds; integer
// quotients truncate towards zero. The order of adding is the order of `srcs`, the same on every
// instruction set, so results are the same bits everywhere, whatever rounding mode and treatment of
// denormals the calling thread has set.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "base/status.hpp"
#include "base/types.hpp"

namespace hfr {

struct ReduceArgs {
  void* const* dsts = nullptr;  // num_dsts >= 1 addresses, aligned to the element
  int num_dsts = 0;
  const void* const* srcs = nullptr;  // num_srcs >= 1 addresses, aligned to the element
  int num_srcs = 0;
  size_t count = 0;  // elements
  int divisor = 1;   // Op::kAvg only
  // Op::kPremulSum only. Source s is multiplied by scales[s] before it is added, in what the type
  // accumulates in, which is also what this points to num_srcs of: float for floats up to 32 bits,
  // else the type itself. Product and sum round separately.
  const void* scales = nullptr;
  // Store past the caches. Each destination is then written once, in order.
  bool streaming = false;
  // What is known of the sources: they have left the last cache.
  bool from_memory = false;
};

// A destination is the same address as a source, or overlaps none.
using ReduceKernel = void (*)(const ReduceArgs& args);

// One instruction set's kernels. A constant, never freed.
struct KernelTable {
  const char* name;  // "scalar", "avx2", "avx512", "avx512_bf16_fp16", "neon", "sve"
  ReduceKernel reduce[kNumDTypes][kNumOps];
};

// Those that this processor runs, best last. Never empty: scalar is always there.
std::vector<const KernelTable*> supported_kernel_tables();

// The best one, or the one called `isa` ("" and "auto": best). Fails naming what this processor
// runs.
Result<const KernelTable*> select_kernel_table(const std::string& isa);

}  // namespace hfr
