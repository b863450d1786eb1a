// Codecs: how elements of each type become accumulators and accumulators become elements.
//
// Each codec turns a step of elements into four vectors of what the type accumulates in, and back;
// four independent sums hide the adder's latency and, unlike an array, live in registers on every
// instruction set. Where an element is narrower than its accumulator, vector k of the four takes
// the elements whose position is k modulo the ratio: a shift or a mask widens them where they lie,
// and no lane ever moves.
//
//   bf16, one 32-bit lane:   | odd      | even     |  odd: mask the low half; even: shift left by
//   16 fp8,  one 32-bit lane:   | 3 | 2 | 1 | 0 |        to two such 16-bit halves first
//
// A codec that is quick because it cannot hold every number gives up on a step that has such a one,
// by new_guard() and holds(), and its Fallback takes the step.
//
// Included by kernels/cpu/reduce_body.hpp only, once per instruction set.
#pragma once

#include <hwy/cache_control.h>
#include <hwy/highway.h>

#include <cstdint>
#include <limits>
#include <type_traits>

#include "cpu/small_float.hpp"

namespace hfr {
namespace {

namespace hn = hwy::HWY_NAMESPACE;

template <typename D>
using Vec = hn::Vec<D>;

// What codecs that hold everything have in common. leave() turns accumulators into the numbers that
// Fallback stores.
template <typename Self>
struct NeverGivesUp {
  using Fallback = Self;
  static constexpr bool kMayBeNan = true;
  static HWY_INLINE int new_guard() { return 0; }
  template <typename... Sums>
  static HWY_INLINE bool holds(int, const Sums&...) {
    return true;
  }
  template <typename V>
  static HWY_INLINE void leave(V&, V&, V&, V&) {}
};

// Types that accumulate in themselves.
template <typename T>
struct PlainCodec : NeverGivesUp<PlainCodec<T>> {
  using D = hn::ScalableTag<T>;

  static size_t step() { return 4 * hn::Lanes(D()); }

  static HWY_INLINE void load(const T* from, Vec<D>& a0, Vec<D>& a1, Vec<D>& a2, Vec<D>& a3, int) {
    const D d;
    const size_t n = hn::Lanes(d);
    a0 = hn::LoadU(d, from);
    a1 = hn::LoadU(d, from + n);
    a2 = hn::LoadU(d, from + 2 * n);
    a3 = hn::LoadU(d, from + 3 * n);
  }
  // Hands whole vectors of elements, with their offsets, to sink(tag, vector, offset).
  template <typename Sink>
  static HWY_INLINE void store(Vec<D> a0, Vec<D> a1, Vec<D> a2, Vec<D> a3, const Sink& sink) {
    const D d;
    const size_t n = hn::Lanes(d);
    sink(d, a0, size_t{0});
    sink(d, a1, n);
    sink(d, a2, 2 * n);
    sink(d, a3, 3 * n);
  }
};

using DF = hn::ScalableTag<float>;
using DU = hn::ScalableTag<uint32_t>;

// Small floats where a vector is one lane: element by element.
template <typename T>
struct OneLaneCodec : NeverGivesUp<OneLaneCodec<T>> {
  using Bits = decltype(T::bits);
  using D = DF;

  static size_t step() { return 4; }

  static HWY_INLINE void load(const T* from, Vec<D>& a0, Vec<D>& a1, Vec<D>& a2, Vec<D>& a3, int) {
    const D d;
    a0 = hn::Set(d, load_float(from[0]));
    a1 = hn::Set(d, load_float(from[1]));
    a2 = hn::Set(d, load_float(from[2]));
    a3 = hn::Set(d, load_float(from[3]));
  }
  template <typename Sink>
  static HWY_INLINE void store(Vec<D> a0, Vec<D> a1, Vec<D> a2, Vec<D> a3, const Sink& sink) {
    const hn::ScalableTag<Bits> bits;
    sink(bits, hn::Set(bits, store_float<T>(hn::GetLane(a0)).bits), size_t{0});
    sink(bits, hn::Set(bits, store_float<T>(hn::GetLane(a1)).bits), size_t{1});
    sink(bits, hn::Set(bits, store_float<T>(hn::GetLane(a2)).bits), size_t{2});
    sink(bits, hn::Set(bits, store_float<T>(hn::GetLane(a3)).bits), size_t{3});
  }
};

// The upper and the lower 16 bits of each 32-bit lane as the upper half of a float.
HWY_INLINE Vec<DF> odd_half(Vec<DU> x) {
  return hn::BitCast(DF(), hn::And(x, hn::Set(DU(), 0xffff0000u)));
}
HWY_INLINE Vec<DF> even_half(Vec<DU> x) { return hn::BitCast(DF(), hn::ShiftLeft<16>(x)); }

// Adds what rounds bits at and above kShift to nearest even; the bits below become rubbish.
template <int kShift>
HWY_INLINE Vec<DU> round_at(Vec<DU> x) {
  const DU d;
  const auto odd = hn::And(hn::ShiftRight<kShift>(x), hn::Set(d, 1u));
  return hn::Add(hn::Add(x, hn::Set(d, (1u << (kShift - 1)) - 1)), odd);
}

#if HWY_TARGET != HWY_SCALAR

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

struct BFloat16Codec : NeverGivesUp<BFloat16Codec> {
  using D = DF;
  using D16 = hn::ScalableTag<uint16_t>;

  static size_t step() { return 2 * hn::Lanes(D16()); }

  static HWY_INLINE void load(const BFloat16* from, Vec<D>& a0, Vec<D>& a1, Vec<D>& a2, Vec<D>& a3,
                              int) {
    const D16 d;
    const auto* bits = reinterpret_cast<const uint16_t*>(from);
    const auto x = hn::BitCast(DU(), hn::LoadU(d, bits));
    const auto y = hn::BitCast(DU(), hn::LoadU(d, bits + hn::Lanes(d)));
    a0 = even_half(x);
    a1 = odd_half(x);
    a2 = even_half(y);
    a3 = odd_half(y);
  }
  template <typename Sink>
  static HWY_INLINE void store(Vec<D> a0, Vec<D> a1, Vec<D> a2, Vec<D> a3, const Sink& sink) {
    const D16 d;
    sink(d, hn::BitCast(d, join(a0, a1)), size_t{0});
    sink(d, hn::BitCast(d, join(a2, a3)), hn::Lanes(d));
  }

 private:
  static HWY_INLINE Vec<DU> join(Vec<D> even, Vec<D> odd) {
    return hn::Or(hn::ShiftRight<16>(rounded(even)),
                  hn::And(rounded(odd), hn::Set(DU(), 0xffff0000u)));
  }
  // A NaN stays one whatever its payload.
  static HWY_INLINE Vec<DU> rounded(Vec<D> a) {
    const DU d;
    const auto bits = hn::BitCast(d, a);
    const auto quiet = hn::Or(bits, hn::Set(d, 0x00400000u));
    return hn::IfThenElse(hn::RebindMask(d, hn::IsNaN(a)), quiet, round_at<16>(bits));
  }
};

#if defined(HFR_AVX512_BF16)
// Rounds by the processor's own conversion, which takes denormals for zeros: gives up on those, and
// on NaN, as the same instruction finds them.
struct QuickBFloat16Codec : BFloat16Codec {
  using Fallback = BFloat16Codec;
  static constexpr bool kMayBeNan = false;

  static HWY_INLINE bool holds(int) { return true; }
  static HWY_INLINE bool holds(int, Vec<D> a0, Vec<D> a1, Vec<D> a2, Vec<D> a3) {
    return (unheld(a0) | unheld(a1) | unheld(a2) | unheld(a3)) == 0;
  }
  template <typename Sink>
  static HWY_INLINE void store(Vec<D> a0, Vec<D> a1, Vec<D> a2, Vec<D> a3, const Sink& sink) {
    const D16 d;
    sink(d, join(a0, a1), size_t{0});
    sink(d, join(a2, a3), hn::Lanes(d));
  }

 private:
  static HWY_INLINE unsigned unheld(Vec<D> a) {
    constexpr int kDenormalOrNan = 0x20 | 0x80 | 0x01;
    return static_cast<unsigned>(_mm512_fpclass_ps_mask(a.raw, kDenormalOrNan));
  }
  static HWY_INLINE Vec<D16> join(Vec<D> even, Vec<D> odd) {
    alignas(64) static constexpr uint16_t kInterleaved[32] = {
        0, 16, 1, 17, 2,  18, 3,  19, 4,  20, 5,  21, 6,  22, 7,  23,
        8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31};
    const auto halves = (__m512i)_mm512_cvtne2ps_pbh(odd.raw, even.raw);
    return Vec<D16>{_mm512_permutexvar_epi16(_mm512_load_si512(kInterleaved), halves)};
  }
};
#endif

// By the processor's own conversions.
struct Float16Codec : NeverGivesUp<Float16Codec> {
  using D = DF;
  using D16 = hn::Rebind<hwy::float16_t, DF>;

  static size_t step() { return 4 * hn::Lanes(D()); }

  static HWY_INLINE void load(const Float16* from, Vec<D>& a0, Vec<D>& a1, Vec<D>& a2, Vec<D>& a3,
                              int) {
    const D16 half;
    const size_t n = hn::Lanes(D());
    const auto* bits = reinterpret_cast<const hwy::float16_t*>(from);
    a0 = hn::PromoteTo(D(), hn::LoadU(half, bits));
    a1 = hn::PromoteTo(D(), hn::LoadU(half, bits + n));
    a2 = hn::PromoteTo(D(), hn::LoadU(half, bits + 2 * n));
    a3 = hn::PromoteTo(D(), hn::LoadU(half, bits + 3 * n));
  }
  template <typename Sink>
  static HWY_INLINE void store(Vec<D> a0, Vec<D> a1, Vec<D> a2, Vec<D> a3, const Sink& sink) {
    const hn::Rebind<uint16_t, DF> bits;
    const D16 half;
    const size_t n = hn::Lanes(D());
    sink(bits, hn::BitCast(bits, hn::DemoteTo(half, a0)), size_t{0});
    sink(bits, hn::BitCast(bits, hn::DemoteTo(half, a1)), n);
    sink(bits, hn::BitCast(bits, hn::DemoteTo(half, a2)), 2 * n);
    sink(bits, hn::BitCast(bits, hn::DemoteTo(half, a3)), 3 * n);
  }
};

// Gives up on NaN: looking for one costs less than settling which one it is.
struct QuickFloat16Codec : Float16Codec {
  using Fallback = Float16Codec;
  static constexpr bool kMayBeNan = false;

  static HWY_INLINE bool holds(int) { return true; }
  static HWY_INLINE bool holds(int, Vec<D> a0, Vec<D> a1, Vec<D> a2, Vec<D> a3) {
    // A sum of NaN is one; so may others be, which costs time and nothing else.
    const auto all = hn::Add(hn::Add(a0, a1), hn::Add(a2, a3));
    return hn::AllFalse(D(), hn::IsNaN(all));
  }
};

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

  static size_t step() { return hn::Lanes(D8()); }

  // The largest magnitude of all elements.
  static HWY_INLINE Vec<D8> new_guard() { return hn::Zero(D8()); }

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
    const auto last = hn::Set(D8(), static_cast<uint8_t>(Format::kFirstSpecial - 1));
    return hn::AllTrue(D8(), hn::Eq(hn::Max(guard, last), last));
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
  static HWY_INLINE void store(Vec<D> a0, Vec<D> a1, Vec<D> a2, Vec<D> a3, const Sink& sink) {
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

 private:
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

#endif  // HWY_TARGET != HWY_SCALAR

}  // namespace
}  // namespace hfr
