// A range of a descriptor's elements, added on the calling thread.
#pragma once

#include "cpu/reduce.hpp"
#include "ports/reduce_pool.hpp"

namespace hfr {

// Adds elements [first, first + count). Every element's result is the same whatever the range.
void run_piece(const KernelTable& kernels, const ReduceDescriptor& work, size_t first,
               size_t count);

}  // namespace hfr
