// The codec of the 8-bit floats; codec.hpp says what a codec is.
#pragma once

#include "cpu/codec.hpp"

#if HWY_TARGET != HWY_SCALAR

namespace hfr {
namespace {

// The odd and the even bytes as signed 16-bit numbers times 2^(8 - kRight). x86 has few shifters
// and multiplies in one instruction (measured: docs/kernels.md).
using DB = hn::ScalableTag<uint8_t>;
using DH = hn::ScalableTag<uint16_t>;
#if HWY_TARGET == HWY_AVX3
template <int kRight>
HWY_INLINE Vec<DH> shifted_odd(Vec<DB> x) {
  return Vec<DH>{_mm512_maddubs_epi16(_mm512_set1_epi16(1 << (16 - kRight)), x.raw)};
}
template <int kRight>
HWY_INLINE Vec<DH> shifted_even(Vec<DB> x) {
  return Vec<DH>{_mm512_maddubs_epi16(_mm512_set1_epi16(1 << (8 - kRight)), x.raw)};
}
#elif HWY_TARGET == HWY_AVX2
template <int kRight>
HWY_INLINE Vec<DH> shifted_odd(Vec<DB> x) {
  return Vec<DH>{_mm256_maddubs_epi16(_mm256_set1_epi16(1 << (16 - kRight)), x.raw)};
}
template <int kRight>
HWY_INLINE Vec<DH> shifted_even(Vec<DB> x) {
  return Vec<DH>{_mm256_maddubs_epi16(_mm256_set1_epi16(1 << (8 - kRight)), x.raw)};
}
#else
template <int kRight>
HWY_INLINE Vec<DH> shifted_odd(Vec<DB> x) {
  const hn::ScalableTag<int16_t> d;
  return hn::BitCast(DH(), hn::ShiftRight<kRight>(hn::BitCast(d, x)));
}
template <int kRight>
HWY_INLINE Vec<DH> shifted_even(Vec<DB> x) {
  const hn::ScalableTag<int16_t> d;
  return hn::BitCast(DH(), hn::ShiftRight<kRight>(hn::ShiftLeft<8>(hn::BitCast(d, x))));
}
#endif

// fp8. Put at FP32's exponent and mantissa the bits mean the number times 2^-kScale, denormals
// included, so sums and comparisons work on them as they are, and rounding the result is an integer
// addition. Every fp8 number is a multiple of 2^(kScale - 149) at least a thousand times, so that
// such sums round as those of the numbers themselves would. What does not hold in scaled bits:
// infinities and NaN, which a guard finds, and multiplication. Float8Codec<T, false> is for those.
template <typename T>
struct Float8Format;
template <>
struct Float8Format<Float8E4M3> {
  static constexpr int kMantissa = 3;
  static constexpr int kScale = 120;
  static constexpr uint32_t kFirstSpecial = 0x7f;  // the first code that is no number
  static constexpr uint32_t kOverflow = 0x7f;
  static constexpr uint32_t kNan = 0x7f;
};
template <>
struct Float8Format<Float8E5M2> {
  static constexpr int kMantissa = 2;
  static constexpr int kScale = 112;
  static constexpr uint32_t kFirstSpecial = 0x7c;
  static constexpr uint32_t kOverflow = 0x7c;
  static constexpr uint32_t kNan = 0x7e;
};

template <typename T, bool kScaled>
struct Float8Codec {
  using D = DF;
  using D8 = hn::ScalableTag<uint8_t>;
  using Format = Float8Format<T>;
  using Fallback = Float8Codec<T, false>;
  static constexpr bool kMayBeNan = !kScaled;
  static constexpr auto kMultiplier = Multiplier::kNone;
  static constexpr bool kInPairs = false;

  static size_t step() { return hn::Lanes(D8()); }

  // The largest magnitude of all elements, if past what scaled bits hold.
  static HWY_INLINE Vec<D8> new_guard() {
    return hn::Set(D8(), static_cast<uint8_t>(Format::kFirstSpecial - 1));
  }

  static HWY_INLINE void load(const T* from, Vec<D>& a0, Vec<D>& a1, Vec<D>& a2, Vec<D>& a3,
                              Vec<D8>& guard) {
    const auto x = hn::LoadU(D8(), reinterpret_cast<const uint8_t*>(from));
    widen(x, a0, a1, a2, a3);
    if constexpr (kScaled) {
      guard = hn::Max(guard, hn::And(x, hn::Set(D8(), uint8_t{0x7f})));
    } else {
      a0 = number(a0);
      a1 = number(a1);
      a2 = number(a2);
      a3 = number(a3);
    }
  }
  template <typename... Sums>
  static HWY_INLINE bool holds(Vec<D8> guard, const Sums&...) {
    if constexpr (!kScaled) return true;
    return hn::AllTrue(D8(), hn::Eq(guard, new_guard()));
  }
  static HWY_INLINE void leave(Vec<D>& a0, Vec<D>& a1, Vec<D>& a2, Vec<D>& a3) {
    if constexpr (kScaled) {
      a0 = unscaled(a0);
      a1 = unscaled(a1);
      a2 = unscaled(a2);
      a3 = unscaled(a3);
    }
  }
  template <typename Sink>
  static HWY_INLINE void store(Vec<D> a0, Vec<D> a1, Vec<D> a2, Vec<D> a3, int, const Sink& sink) {
    const DU d;
    const auto upper = hn::Set(d, 0xffff0000u);
    // As 16-bit halves with the code in the place where widen() put it.
    const auto even =
        top_byte(hn::Or(hn::ShiftRight<16>(encoded(a0)), hn::And(encoded(a2), upper)));
    const auto odd = top_byte(hn::Or(hn::ShiftRight<16>(encoded(a1)), hn::And(encoded(a3), upper)));
    const D16 d16;
    const auto bytes = hn::Or(hn::ShiftRight<8>(hn::BitCast(d16, even)), hn::BitCast(d16, odd));
    sink(D8(), hn::BitCast(D8(), bytes), size_t{0});
  }

 protected:
  using D16 = hn::ScalableTag<uint16_t>;
  static constexpr int kShift = 23 - Format::kMantissa;  // of the code in 32 bits
  static constexpr int kInHalf = 8 - (kShift - 16);      // and to its place in the upper half

  static HWY_INLINE void widen(Vec<D8> x, Vec<D>& a0, Vec<D>& a1, Vec<D>& a2, Vec<D>& a3) {
    const D16 d;
    const auto mask = hn::Set(d, static_cast<uint16_t>(0x8000u | 0x7fu << (kShift - 16)));
    // The sign spreads into the bits that the mask clears.
    const auto odd = hn::And(shifted_odd<kInHalf>(x), mask);
    const auto even = hn::And(shifted_even<kInHalf>(x), mask);
    a0 = even_half(hn::BitCast(DU(), even));
    a1 = even_half(hn::BitCast(DU(), odd));
    a2 = odd_half(hn::BitCast(DU(), even));
    a3 = odd_half(hn::BitCast(DU(), odd));
  }
  // A power of two times: exact unless the result is no FP32 number, which none is here.
  static HWY_INLINE Vec<D> unscaled(Vec<D> a) {
    return hn::Mul(a, hn::Set(D(), bits_float((127u + Format::kScale) << 23)));
  }
  // The number itself from one element's scaled bits.
  static HWY_INLINE Vec<D> number(Vec<D> a) {
    const DU d;
    const auto bits = hn::BitCast(d, a);
    const auto magnitude = hn::And(bits, hn::Set(d, 0x7fffffffu));
    const auto special = hn::Gt(magnitude, hn::Set(d, (Format::kFirstSpecial << kShift) - 1));
    constexpr uint32_t kFill = Format::kFirstSpecial == Format::kNan ? 0x7fc00000u : 0x7f800000u;
    return hn::IfThenElse(hn::RebindMask(D(), special),
                          hn::BitCast(D(), hn::Or(bits, hn::Set(d, kFill))), unscaled(a));
  }
  // 16-bit halves: sign and code, to the upper byte.
  static HWY_INLINE Vec<DU> top_byte(Vec<DU> halves) {
    const D16 d;
    const auto x = hn::BitCast(d, halves);
    const auto sign = hn::And(x, hn::Set(d, uint16_t{0x8000}));
    auto code = hn::And(x, hn::Set(d, uint16_t{0x7fff}));
    if constexpr (kScaled) {
      const auto most = Format::kOverflow << (kShift - 16) | ((1u << (kShift - 16)) - 1);
      code = hn::Min(code, hn::Set(d, static_cast<uint16_t>(most)));
    }
    code = hn::And(hn::ShiftLeft<kInHalf>(code), hn::Set(d, uint16_t{0x7f00}));
    return hn::BitCast(DU(), hn::Or(sign, code));
  }
  // Sign and code << kShift, rubbish below.
  static HWY_INLINE Vec<DU> encoded(Vec<D> a) {
    const DU d;
    const auto bits = hn::BitCast(d, a);
    if constexpr (kScaled) return round_at<kShift>(bits);
    const auto magnitude = hn::And(bits, hn::Set(d, 0x7fffffffu));
    const auto normal =
        hn::Sub(round_at<kShift>(magnitude), hn::Set(d, uint32_t{Format::kScale} << 23));
    // Adding a number whose last bit is the smallest step makes the adder round.
    constexpr uint32_t kMagic = static_cast<uint32_t>(Format::kScale + 1 + kShift) << 23;
    const auto moved = hn::Add(hn::BitCast(D(), magnitude), hn::Set(D(), bits_float(kMagic)));
    const auto denormal = hn::ShiftLeft<kShift>(hn::Sub(hn::BitCast(d, moved), hn::Set(d, kMagic)));
    const auto smallest_normal = hn::Set(d, uint32_t{Format::kScale + 1} << 23);
    auto code = hn::IfThenElse(hn::Lt(magnitude, smallest_normal), denormal, normal);
    const auto most = Format::kOverflow << kShift | ((1u << kShift) - 1);
    code = hn::Min(code, hn::Set(d, most));
    const auto nan = hn::RebindMask(d, hn::IsNaN(a));
    code = hn::IfThenElse(nan, hn::Set(d, Format::kNan << kShift), code);
    return hn::Or(code, hn::Sub(bits, magnitude));
  }
};

}  // namespace
}  // namespace hfr

#endif  // HWY_TARGET != HWY_SCALAR
