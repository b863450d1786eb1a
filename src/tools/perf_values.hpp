// Inputs whose reductions are exact in every type, in whatever order ranks are added and wherever a
// partial result is rounded to the type; so results can be compared bit for bit.
//
// Buffers repeat a pattern of kPatternElements, a prime number: no misplaced or repeated chunk
// looks right. Within one, each element has its own mix of ranks, signs, magnitudes and (floats)
// exponent:
//
//   sum, avg  whole numbers times a power of two that the element's ranks share; where a type is
//   too narrow for all
//             ranks' sum, a window of ranks that moves from element to element contributes and the
//             others pass 0
//   prod      signs and powers of two, in a window as above, and one rank's full significand;
//   integers: odd numbers, which
//             wrap
//   min, max  any magnitude, no zero
//
// Integer sums use all bits and wrap; integer averages do not, as a wrapped sum's average means
// nothing.
#pragma once

#include <cstddef>
#include <vector>

#include "hfreduce/hfreduce.h"

namespace hfr::tools {

constexpr size_t kPatternElements = 16381;

// The first `count` elements (at most kPatternElements) of rank's input, and of the result.
std::vector<std::byte> exact_input(hfr_dtype_t dtype, hfr_op_t op, int rank, int num_ranks,
                                   size_t count = kPatternElements);
std::vector<std::byte> exact_result(hfr_dtype_t dtype, hfr_op_t op, int num_ranks,
                                    size_t count = kPatternElements);

// One element that reducing in place over and over leaves as it is: 0, or 1 for products. Timing
// with it meets no infinities or denormals.
std::vector<std::byte> neutral_input(hfr_dtype_t dtype, hfr_op_t op);

// Repeats the pattern over `bytes`.
void tile(void* buffer, size_t bytes, const std::vector<std::byte>& pattern);

// Elements that differ from the repeated pattern: by any bit, or for averages of floats by more
// than 2 ulp.
size_t count_wrong(const void* buffer, size_t bytes, hfr_dtype_t dtype, hfr_op_t op,
                   const std::vector<std::byte>& pattern);

}  // namespace hfr::tools
