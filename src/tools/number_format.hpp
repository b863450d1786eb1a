// Element types as bits: the tools' own conversions, so that checks do not lean on the code they
// check.
#pragma once

#include <cstdint>

#include "hfreduce/hfreduce.h"

namespace hfr::tools {

struct NumberFormat {
  int bits = 0;
  bool is_signed = true;
  int exponent_bits = 0;     // 0: an integer
  int mantissa_bits = 0;     // without the implied one
  bool has_infinity = true;  // false: f8e4m3, whose only special value is NaN

  bool is_float() const { return exponent_bits > 0; }
  int bias() const { return (1 << (exponent_bits - 1)) - 1; }
};
NumberFormat number_format(hfr_dtype_t dtype);

// A float type's bits for `value`, rounded to nearest, ties to even; beyond the largest number to
// infinity, or to NaN where there is none.
uint64_t encode_float(const NumberFormat& format, double value);
double decode_float(const NumberFormat& format, uint64_t bits);

// How many representable numbers lie between two floats; INT64_MAX when one is NaN. Zeros are
// equal.
int64_t ulp_distance(const NumberFormat& format, uint64_t a, uint64_t b);

}  // namespace hfr::tools
