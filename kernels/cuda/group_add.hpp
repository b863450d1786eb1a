// The kernel of groups of GPUs (docs/cuda.md): adds the members' inputs of one chunk, on the GPU of
// the one that carries it. Same rules as kernels/cpu/reduce.hpp.
#pragma once

#include <cstddef>
#include <cstdint>

namespace hfr {

constexpr int kMaxGroup = 8;
constexpr int kGroupAddThreads = 512;   // of a block
constexpr size_t kGroupAddVector = 16;  // bytes of an input that a thread takes at a time

// The kernel's only parameter. Device addresses.
struct GroupAddArgs {
  const void* own;      // aligned to the element
  void* boxes;          // the others' inputs, `stride` apart; the sum replaces the first
  uint64_t stride;      // a multiple of kGroupAddVector, as is `boxes`
  uint64_t count;       // elements
  uint32_t num_inputs;  // 2 to kMaxGroup, own one included
  uint32_t own_idx;     // where among them the own one is added
  uint32_t op;          // Op
  uint32_t divisor;     // Op::kAvg only; 1: a partial sum
};

// A kernel is called hfr_group_add_ and dtype_name(). The image is for cuModuleLoadData; null in a
// build without nvcc.
const void* group_add_image();

}  // namespace hfr
