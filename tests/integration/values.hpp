// Inputs whose reductions are exact in every type, and what must come out.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>

#include "hfreduce/hfreduce.h"

namespace hfr_tests {

// Small whole numbers in each type's own bits.
inline uint64_t encode(hfr_dtype_t dtype, int value) {
  auto float_bits = [&](int exponent_bits, int mantissa_bits) -> uint64_t {
    if (value == 0) return 0;
    uint64_t sign = value < 0 ? 1 : 0;
    double magnitude = std::abs(value);
    int exponent = std::ilogb(magnitude);
    double fraction = std::ldexp(magnitude, -exponent) - 1.0;
    uint64_t bias = (uint64_t{1} << (exponent_bits - 1)) - 1;
    auto mantissa = static_cast<uint64_t>(std::ldexp(fraction, mantissa_bits));
    return sign << (exponent_bits + mantissa_bits) |
           (bias + static_cast<uint64_t>(exponent)) << mantissa_bits | mantissa;
  };
  switch (dtype) {
    case HFR_FLOAT16:
      return float_bits(5, 10);
    case HFR_BFLOAT16:
      return float_bits(8, 7);
    case HFR_FLOAT32:
      return float_bits(8, 23);
    case HFR_FLOAT64:
      return float_bits(11, 52);
    case HFR_FLOAT8_E4M3:
      return float_bits(4, 3);
    case HFR_FLOAT8_E5M2:
      return float_bits(5, 2);
    default:
      return static_cast<uint64_t>(static_cast<int64_t>(value));
  }
}

// Rank's input at `i`. The values keep every partial result of up to 136 ranks exact in the
// narrowest type: sums have few ranks that are not 0, products few that are not 1.
inline int input_value(hfr_op_t op, int rank, int num_ranks, size_t i) {
  int holder = static_cast<int>(i % static_cast<size_t>(num_ranks));
  int second = static_cast<int>((i / 7) % static_cast<size_t>(num_ranks));
  switch (op) {
    case HFR_SUM:
      return (rank == holder ? 2 : 0) + (rank == second ? 1 : 0);
    case HFR_AVG:
      return static_cast<int>(i % 3) + 1;  // all ranks alike: the average is the value
    case HFR_PROD:
      return rank == holder || rank == second ? 2 : 1;
    case HFR_MIN:
      return rank == holder ? 1 : 2 + (rank + static_cast<int>(i)) % 2;
    case HFR_MAX:
      return rank == holder ? 6 : 2 + (rank + static_cast<int>(i)) % 2;
  }
  return 0;
}

inline int expected_value(hfr_op_t op, int num_ranks, size_t i) {
  int holder = static_cast<int>(i % static_cast<size_t>(num_ranks));
  int second = static_cast<int>((i / 7) % static_cast<size_t>(num_ranks));
  switch (op) {
    case HFR_SUM:
      return 3;
    case HFR_AVG:
      return static_cast<int>(i % 3) + 1;
    case HFR_PROD:
      return holder == second ? 2 : 4;
    case HFR_MIN:
      return 1;
    case HFR_MAX:
      return 6;
  }
  return 0;
}

// An average's partial sums grow with the ranks; narrow types hold them exactly only for a few.
inline bool average_is_exact(hfr_dtype_t dtype, int num_ranks) {
  switch (dtype) {
    case HFR_FLOAT8_E4M3:
    case HFR_FLOAT8_E5M2:
      return num_ranks <= 2;
    case HFR_INT8:
      return num_ranks <= 42;
    case HFR_UINT8:
      return num_ranks <= 85;
    case HFR_BFLOAT16:
      return num_ranks <= 64;
    default:
      return true;
  }
}

inline void put(std::vector<std::byte>& buffer, size_t size, size_t i, uint64_t bits) {
  std::memcpy(buffer.data() + i * size, &bits, size);
}

inline std::vector<std::byte> make_input(hfr_dtype_t dtype, hfr_op_t op, int rank, int num_ranks,
                                         size_t count) {
  size_t size = hfr_dtype_size(dtype);
  std::vector<std::byte> buffer(count * size);
  for (size_t i = 0; i < count; ++i)
    put(buffer, size, i, encode(dtype, input_value(op, rank, num_ranks, i)));
  return buffer;
}

inline std::vector<std::byte> make_expected(hfr_dtype_t dtype, hfr_op_t op, int num_ranks,
                                            size_t count) {
  size_t size = hfr_dtype_size(dtype);
  std::vector<std::byte> buffer(count * size);
  for (size_t i = 0; i < count; ++i)
    put(buffer, size, i, encode(dtype, expected_value(op, num_ranks, i)));
  return buffer;
}

}  // namespace hfr_tests
