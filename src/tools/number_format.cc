#include "tools/number_format.hpp"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <limits>

namespace hfr::tools {
namespace {

uint64_t mask(int bits) { return (uint64_t{1} << bits) - 1; }

}  // namespace

NumberFormat number_format(hfr_dtype_t dtype) {
  switch (dtype) {
    case HFR_FLOAT16:
      return {16, true, 5, 10, true};
    case HFR_BFLOAT16:
      return {16, true, 8, 7, true};
    case HFR_FLOAT32:
      return {32, true, 8, 23, true};
    case HFR_FLOAT64:
      return {64, true, 11, 52, true};
    case HFR_FLOAT8_E4M3:
      return {8, true, 4, 3, false};
    case HFR_FLOAT8_E5M2:
      return {8, true, 5, 2, true};
    case HFR_UINT8:
    case HFR_UINT16:
    case HFR_UINT32:
    case HFR_UINT64:
      return {static_cast<int>(8 * hfr_dtype_size(dtype)), false, 0, 0, true};
    default:
      return {static_cast<int>(8 * hfr_dtype_size(dtype)), true, 0, 0, true};
  }
}

uint64_t encode_float(const NumberFormat& format, double value) {
  const uint64_t sign = std::signbit(value) ? uint64_t{1} << (format.bits - 1) : 0;
  const uint64_t exponent_ones = mask(format.exponent_bits) << format.mantissa_bits;
  const uint64_t nan = exponent_ones | mask(format.mantissa_bits);
  const uint64_t beyond = format.has_infinity ? exponent_ones : nan;
  if (std::isnan(value)) return sign | nan;
  if (std::isinf(value)) return sign | beyond;
  const double magnitude = std::fabs(value);
  if (magnitude == 0) return sign;
  // Subnormals share the smallest normal exponent.
  const int smallest = 1 - format.bias();
  const int exponent = std::max(std::ilogb(magnitude), smallest);
  const double in_ulps = std::nearbyint(std::ldexp(magnitude, format.mantissa_bits - exponent));
  // The implied one, when there is one, carries into the exponent: so does rounding up to the next
  // power of two.
  const auto ulps = static_cast<uint64_t>(in_ulps);
  const uint64_t bits = (static_cast<uint64_t>(exponent - smallest) << format.mantissa_bits) + ulps;
  return sign | (bits >= beyond ? beyond : bits);
}

double decode_float(const NumberFormat& format, uint64_t bits) {
  const double sign = (bits >> (format.bits - 1) & 1) != 0 ? -1.0 : 1.0;
  const uint64_t exponent = bits >> format.mantissa_bits & mask(format.exponent_bits);
  const uint64_t mantissa = bits & mask(format.mantissa_bits);
  if (exponent == mask(format.exponent_bits)) {
    if (format.has_infinity) {
      return mantissa == 0 ? sign * std::numeric_limits<double>::infinity()
                           : std::numeric_limits<double>::quiet_NaN();
    }
    if (mantissa == mask(format.mantissa_bits)) return std::numeric_limits<double>::quiet_NaN();
  }
  const uint64_t implied = exponent == 0 ? 0 : uint64_t{1} << format.mantissa_bits;
  const int scale =
      (exponent == 0 ? 1 : static_cast<int>(exponent)) - format.bias() - format.mantissa_bits;
  return sign * std::ldexp(static_cast<double>(implied | mantissa), scale);
}

int64_t ulp_distance(const NumberFormat& format, uint64_t a, uint64_t b) {
  if (std::isnan(decode_float(format, a)) || std::isnan(decode_float(format, b))) {
    return std::numeric_limits<int64_t>::max();
  }
  auto ordered = [&](uint64_t bits) {
    const auto magnitude = static_cast<int64_t>(bits & mask(format.bits - 1));
    return (bits >> (format.bits - 1) & 1) != 0 ? -magnitude : magnitude;
  };
  // Two doubles of opposite sign can be further apart than 63 bits count; both magnitudes fit.
  const int64_t x = ordered(a);
  const int64_t y = ordered(b);
  if ((x < 0) != (y < 0)) {
    const uint64_t sum =
        static_cast<uint64_t>(std::llabs(x)) + static_cast<uint64_t>(std::llabs(y));
    return sum > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())
               ? std::numeric_limits<int64_t>::max()
               : static_cast<int64_t>(sum);
  }
  return std::llabs(x - y);
}

}  // namespace hfr::tools
