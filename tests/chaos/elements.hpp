// Elements of buffers: small whole numbers, whose sums and maxima every type holds.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "hfreduce/hfreduce.h"

namespace hfr_tests {

struct Type {
  hfr_dtype_t dtype;
  size_t bytes;
};
constexpr Type kTypes[] = {{HFR_FLOAT32, 4}, {HFR_BFLOAT16, 2}, {HFR_FLOAT64, 8},
                           {HFR_INT8, 1},    {HFR_INT32, 4},    {HFR_UINT64, 8}};

inline uint64_t bits_of(const Type& type, int value) {
  const auto single = static_cast<float>(value);
  const double wide = value;
  uint32_t bits = 0;
  uint64_t wide_bits = 0;
  std::memcpy(&bits, &single, sizeof(bits));
  std::memcpy(&wide_bits, &wide, sizeof(wide_bits));
  switch (type.dtype) {
    case HFR_FLOAT32:
      return bits;
    case HFR_BFLOAT16:
      return bits >> 16;
    case HFR_FLOAT64:
      return wide_bits;
    default:
      return static_cast<uint64_t>(value);
  }
}

// Element i has one of eight values. Which one changes from element to element and from 1024 to the
// next, so that chunks in the wrong place show.
inline size_t value_idx(size_t i) { return (i + (i >> 10)) & 7; }
inline int input(int rank, uint64_t step, size_t operation, size_t value) {
  return static_cast<int>((static_cast<uint64_t>(rank) * 3 + step * 5 + operation + value) & 7);
}
using Values = uint64_t[8];  // as bits

template <typename Element>
inline void fill(void* data, size_t count, const Values& values) {
  auto* elements = static_cast<Element*>(data);
  for (size_t i = 0; i < count; ++i) elements[i] = static_cast<Element>(values[value_idx(i)]);
}
// The first element from 1 on that is wrong, or count. Element 0 carries the wish to end.
template <typename Element>
inline size_t first_wrong(const void* data, size_t count, const Values& values) {
  const auto* elements = static_cast<const Element*>(data);
  for (size_t i = 1; i < count; ++i)
    if (elements[i] != static_cast<Element>(values[value_idx(i)])) return i;
  return count;
}
template <typename Visit>
auto by_width(size_t bytes, Visit&& visit) {
  switch (bytes) {
    case 1:
      return visit(uint8_t{});
    case 2:
      return visit(uint16_t{});
    case 4:
      return visit(uint32_t{});
    default:
      return visit(uint64_t{});
  }
}

}  // namespace hfr_tests
