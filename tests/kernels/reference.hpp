// A scalar reference for the kernels, written from the formats' definitions and not from the
// kernels' code: numbers are decoded by exponent and fraction in double precision and encoded by
// searching the nearest code.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <vector>

#include "base/types.hpp"

namespace hfr_tests {

struct Format {
  int exponent_bits;
  int mantissa_bits;
  bool has_infinity;
};

inline Format format_of(hfr::DType dtype) {
  switch (dtype) {
    case hfr::DType::kFloat16:
      return {5, 10, true};
    case hfr::DType::kBFloat16:
      return {8, 7, true};
    case hfr::DType::kFloat8E4M3:
      return {4, 3, false};
    default:
      return {5, 2, true};
  }
}

inline double decode(hfr::DType dtype, uint32_t code) {
  Format f = format_of(dtype);
  const uint32_t fraction_mask = (1u << f.mantissa_bits) - 1;
  const uint32_t exponent_mask = (1u << f.exponent_bits) - 1;
  const uint32_t fraction = code & fraction_mask;
  const uint32_t exponent = (code >> f.mantissa_bits) & exponent_mask;
  const double sign = (code >> (f.mantissa_bits + f.exponent_bits) & 1) != 0 ? -1.0 : 1.0;
  const int bias = (1 << (f.exponent_bits - 1)) - 1;
  if (exponent == exponent_mask) {
    if (f.has_infinity) {
      return fraction == 0 ? sign * std::numeric_limits<double>::infinity() : std::nan("");
    }
    if (fraction == fraction_mask) return std::nan("");
  }
  if (exponent == 0) return sign * std::ldexp(fraction, 1 - bias - f.mantissa_bits);
  return sign * std::ldexp(1.0 + std::ldexp(fraction, -f.mantissa_bits),
                           static_cast<int>(exponent) - bias);
}

// Positive codes in ascending order of value, up to the largest finite one.
inline const std::vector<double>& magnitudes(hfr::DType dtype) {
  static std::vector<double> tables[hfr::kNumDTypes];
  std::vector<double>& table = tables[static_cast<int>(dtype)];
  if (table.empty()) {
    for (uint32_t code = 0;; ++code) {
      double value = decode(dtype, code);
      if (!std::isfinite(value)) break;
      table.push_back(value);
    }
  }
  return table;
}

// Nearest code, ties to the even one. NaN: any NaN, so the caller compares with is_nan.
inline uint32_t encode(hfr::DType dtype, double value) {
  Format f = format_of(dtype);
  const uint32_t sign = std::signbit(value) ? 1u << (f.exponent_bits + f.mantissa_bits) : 0;
  const std::vector<double>& table = magnitudes(dtype);
  const double magnitude = std::fabs(value);
  const auto past = static_cast<uint32_t>(table.size());  // infinity, or NaN where there is none
  if (std::isnan(value)) return sign | (f.has_infinity ? past + 1 : past);
  // The step beyond the largest finite number: what rounds to it overflows.
  const double last = table[past - 1];
  const double step = last - table[past - 2];
  if (magnitude > last) {
    const double half_way = last + step / 2;
    // The largest finite code decides a tie by its last bit.
    if (magnitude > half_way || (magnitude == half_way && (past - 1) % 2 == 1)) return sign | past;
    return sign | (past - 1);
  }
  uint32_t low = 0;
  uint32_t high = past - 1;
  while (low < high) {
    uint32_t middle = (low + high + 1) / 2;
    if (table[middle] <= magnitude) {
      low = middle;
    } else {
      high = middle - 1;
    }
  }
  if (low + 1 < past) {
    const double below = magnitude - table[low];
    const double above = table[low + 1] - magnitude;
    if (above < below || (above == below && low % 2 == 1)) ++low;
  }
  return sign | low;
}

}  // namespace hfr_tests
