// Conversions between FP32 and the 16- and 8-bit floats: branch-free, so that compilers turn loops
// of them into vector code, and exact: decoding loses nothing, encoding rounds once to nearest
// even.
//
// Encodings: IEEE binary16, bfloat16, and OCP 8-bit E4M3 (no infinity, NaN is S.1111.111) and E5M2
// (IEEE-like). What is too large becomes infinity, and NaN in E4M3, as the specification's
// non-saturating mode says. kernels/cuda compiles them for GPUs.
#pragma once

#include <cstdint>
#include <cstring>

#ifdef __CUDACC__
#define HFR_ON_BOTH __host__ __device__
#else
#define HFR_ON_BOTH
#endif

namespace hfr {

struct Float16 {
  uint16_t bits;
};
struct BFloat16 {
  uint16_t bits;
};
struct Float8E4M3 {
  uint8_t bits;
};
struct Float8E5M2 {
  uint8_t bits;
};

// Included by files that are compiled for different instruction sets: internal linkage, so that the
// linker never hands one file's code to another's caller.
namespace {

HFR_ON_BOTH inline uint32_t float_bits(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof(bits));
  return bits;
}
HFR_ON_BOTH inline float bits_float(uint32_t bits) {
  float value;
  std::memcpy(&value, &bits, sizeof(value));
  return value;
}

// Exponent and mantissa of a float with `kMantissa` mantissa bits and exponent bias `kBias`, sign
// stripped.
template <int kMantissa, int kBias>
HFR_ON_BOTH inline float decode_magnitude(uint32_t magnitude) {
  // Shifted into FP32's place the number is off by the difference of the biases; the product is
  // exact, also for denormals.
  return bits_float(magnitude << (23 - kMantissa)) *
         bits_float(static_cast<uint32_t>(254 - kBias) << 23);
}

// Bits of |value| rounded to nearest even; values past the largest finite one come out larger than
// it. Not for NaN.
template <int kMantissa, int kBias>
HFR_ON_BOTH inline uint32_t encode_magnitude(uint32_t bits) {
  constexpr int kShift = 23 - kMantissa;
  constexpr uint32_t kSmallestNormal = static_cast<uint32_t>(127 - kBias + 1) << 23;
  // Normal: drop the low bits with rounding, and correct the bias.
  uint32_t rounded = bits + ((1u << (kShift - 1)) - 1) + ((bits >> kShift) & 1);
  uint32_t normal = (rounded - (static_cast<uint32_t>(127 - kBias) << 23)) >> kShift;
  // Denormal: adding a number whose last bit is our smallest step makes the adder round.
  constexpr uint32_t kMagic = static_cast<uint32_t>(127 - kBias + 1 + kShift) << 23;
  uint32_t denormal = float_bits(bits_float(bits) + bits_float(kMagic)) - kMagic;
  return bits >= kSmallestNormal ? normal : denormal;
}

HFR_ON_BOTH inline float load_float(Float16 value) {
  uint32_t magnitude = value.bits & 0x7fffu;
  uint32_t bits = float_bits(decode_magnitude<10, 15>(magnitude));
  bits |= magnitude >= 0x7c00u ? 0x7f800000u | (magnitude << 13) : 0;
  return bits_float(bits | static_cast<uint32_t>(value.bits & 0x8000u) << 16);
}
HFR_ON_BOTH inline float load_float(BFloat16 value) {
  return bits_float(static_cast<uint32_t>(value.bits) << 16);
}
HFR_ON_BOTH inline float load_float(Float8E4M3 value) {
  uint32_t magnitude = value.bits & 0x7fu;
  uint32_t bits = float_bits(decode_magnitude<3, 7>(magnitude));
  bits = magnitude == 0x7fu ? 0x7fc00000u : bits;
  return bits_float(bits | static_cast<uint32_t>(value.bits & 0x80u) << 24);
}
HFR_ON_BOTH inline float load_float(Float8E5M2 value) {
  uint32_t magnitude = value.bits & 0x7fu;
  uint32_t bits = float_bits(decode_magnitude<2, 15>(magnitude));
  bits |= magnitude >= 0x7cu ? 0x7f800000u | (magnitude << 21) : 0;
  return bits_float(bits | static_cast<uint32_t>(value.bits & 0x80u) << 24);
}

template <typename T>
HFR_ON_BOTH inline T store_float(float value);

template <>
HFR_ON_BOTH inline Float16 store_float<Float16>(float value) {
  uint32_t bits = float_bits(value);
  uint32_t magnitude = bits & 0x7fffffffu;
  uint32_t encoded = encode_magnitude<10, 15>(magnitude);
  encoded = magnitude >= 0x47800000u || encoded > 0x7c00u ? 0x7c00u : encoded;
  encoded = magnitude > 0x7f800000u ? 0x7e00u : encoded;
  return {static_cast<uint16_t>(encoded | (bits >> 16 & 0x8000u))};
}
template <>
HFR_ON_BOTH inline BFloat16 store_float<BFloat16>(float value) {
  uint32_t bits = float_bits(value);
  uint32_t rounded = (bits + 0x7fffu + ((bits >> 16) & 1)) >> 16;
  uint32_t quiet = (bits >> 16) | 0x40u;
  return {static_cast<uint16_t>((bits & 0x7fffffffu) > 0x7f800000u ? quiet : rounded)};
}
template <>
HFR_ON_BOTH inline Float8E4M3 store_float<Float8E4M3>(float value) {
  uint32_t bits = float_bits(value);
  uint32_t magnitude = bits & 0x7fffffffu;
  uint32_t encoded = encode_magnitude<3, 7>(magnitude);
  // 448 is the largest; from 464 on it would round past it.
  encoded = magnitude >= 0x44000000u || encoded > 0x7eu ? 0x7fu : encoded;
  return {static_cast<uint8_t>(encoded | (bits >> 24 & 0x80u))};
}
template <>
HFR_ON_BOTH inline Float8E5M2 store_float<Float8E5M2>(float value) {
  uint32_t bits = float_bits(value);
  uint32_t magnitude = bits & 0x7fffffffu;
  uint32_t encoded = encode_magnitude<2, 15>(magnitude);
  encoded = magnitude >= 0x47800000u || encoded > 0x7cu ? 0x7cu : encoded;
  encoded = magnitude > 0x7f800000u ? 0x7eu : encoded;
  return {static_cast<uint8_t>(encoded | (bits >> 24 & 0x80u))};
}

}  // namespace
}  // namespace hfr

#undef HFR_ON_BOTH
