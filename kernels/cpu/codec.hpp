// Codecs: how elements of each type become accumulators and accumulators become elements.
//
// Each codec turns a step of elements into four vectors of what the type accumulates in, and back;
// four independent sums hide the adder's latency and, unlike an array, live in registers on every
// instruction set. Where an element is narrower than its accumulator, vector k of the four takes
// the elements whose position is k modulo the ratio: a shift or a mask widens them where they lie,
// and no lane ever moves.
//
//   bf16, one 32-bit lane:   | odd      | even     |   odd: mask the low half; even: shift left
//   fp8, one 32-bit lane:    | 3 | 2  | 1 | 0      |   to two such 16-bit halves first
//
// A codec that is quick because it cannot hold every number gives up on a step that has such a one,
// by new_guard() and holds(), and its Fallback takes the step.
//
// kMultiplier says how many of the four sums the multiplier makes, as b * 1 + a, which rounds as a
// + b does: where nothing but additions and conversions is to be done it has nothing else to do.
//
// kInPairs: inside the caches two steps are taken together, as one is so short that going from
// source to source costs more than a tenth of it.
//
// Included by kernels/cpu/reduce_body.hpp only, once per instruction set, as is codec_float8.hpp.
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

enum class Multiplier { kNone, kEverySecond, kAll };

// What codecs that hold everything have in common. leave() turns accumulators into the numbers that
// Fallback stores.
template <typename Self>
struct NeverGivesUp {
  using Fallback = Self;
  static constexpr bool kMayBeNan = true;
  static constexpr auto kMultiplier = Multiplier::kNone;
  static constexpr bool kInPairs = false;
  static HWY_INLINE int new_guard() { return 0; }
  template <typename... Sums>
  static HWY_INLINE bool holds(int, const Sums&...) {
    return true;
  }
  template <typename V>
  static HWY_INLINE void leave(V&, V&, V&, V&) {}
};

// Types that accumulate in themselves. A step takes kVectors of each source.
template <typename T, int kVectors = 4>
struct PlainCodec : NeverGivesUp<PlainCodec<T, kVectors>> {
  using D = hn::ScalableTag<T>;

  static size_t step() { return kVectors * hn::Lanes(D()); }

  static HWY_INLINE void load(const T* from, Vec<D>& a0, Vec<D>& a1, Vec<D>& a2, Vec<D>& a3, int) {
    const D d;
    const size_t n = hn::Lanes(d);
    a0 = hn::LoadU(d, from);
    if constexpr (kVectors > 1) a1 = hn::LoadU(d, from + n);
    if constexpr (kVectors > 2) {
      a2 = hn::LoadU(d, from + 2 * n);
      a3 = hn::LoadU(d, from + 3 * n);
    }
  }
  // Hands whole vectors of elements, with their offsets, to sink(tag, vector, offset).
  template <typename Sink>
  static HWY_INLINE void store(Vec<D> a0, Vec<D> a1, Vec<D> a2, Vec<D> a3, int, const Sink& sink) {
    const D d;
    const size_t n = hn::Lanes(d);
    sink(d, a0, size_t{0});
    if constexpr (kVectors > 1) sink(d, a1, n);
    if constexpr (kVectors > 2) {
      sink(d, a2, 2 * n);
      sink(d, a3, 3 * n);
    }
  }
};

#if HWY_TARGET == HWY_AVX3
// Floats that are added as they are: gives up on NaN, as one comparison finds it in two vectors.
template <typename T, int kVectors = 4>
struct QuickPlainCodec : PlainCodec<T, kVectors> {
  using Fallback = PlainCodec<T, kVectors>;
  using typename Fallback::D;
  static constexpr bool kMayBeNan = false;

  static HWY_INLINE bool holds(int) { return true; }
  static HWY_INLINE bool holds(int, Vec<D> a0, Vec<D> a1, Vec<D> a2, Vec<D> a3) {
    if constexpr (kVectors == 1) return !any_nan(a0, a0);
    if constexpr (kVectors == 2) return !any_nan(a0, a1);
    return (any_nan(a0, a1) | any_nan(a2, a3)) == 0;
  }

 private:
  static HWY_INLINE unsigned any_nan(Vec<D> a, Vec<D> b) {
    if constexpr (sizeof(T) == 4) return _mm512_cmp_ps_mask(a.raw, b.raw, _CMP_UNORD_Q);
    if constexpr (sizeof(T) == 8) return _mm512_cmp_pd_mask(a.raw, b.raw, _CMP_UNORD_Q);
  }
};
#endif

// What takes C's place past the caches: plain types go line by line (measured: docs/kernels.md).
constexpr int kVectorsOfALine = HWY_MAX_BYTES >= 64 ? 1 : 2;
template <typename C>
struct PastCaches {
  using Type = C;
};
template <typename T>
struct PastCaches<PlainCodec<T>> {
  using Type = PlainCodec<T, kVectorsOfALine>;
};
#if HWY_TARGET == HWY_AVX3
template <typename T>
struct PastCaches<QuickPlainCodec<T>> {
  using Type = QuickPlainCodec<T, kVectorsOfALine>;
};
#endif

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
  static HWY_INLINE void store(Vec<D> a0, Vec<D> a1, Vec<D> a2, Vec<D> a3, int, const Sink& sink) {
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

struct BFloat16Codec : NeverGivesUp<BFloat16Codec> {
  static constexpr auto kMultiplier = Multiplier::kEverySecond;
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
  static HWY_INLINE void store(Vec<D> a0, Vec<D> a1, Vec<D> a2, Vec<D> a3, int, const Sink& sink) {
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
  static HWY_INLINE void store(Vec<D> a0, Vec<D> a1, Vec<D> a2, Vec<D> a3, int, const Sink& sink) {
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

// By the processor's own conversions. On AVX-512 in vectors of 32 bytes: to convert eight numbers
// from memory is one operation there, sixteen take a shuffle for each half (measured:
// docs/kernels.md).
struct Float16Codec : NeverGivesUp<Float16Codec> {
  static constexpr auto kMultiplier = Multiplier::kAll;
#if HWY_TARGET == HWY_AVX3
  using D = hn::Half<DF>;
#else
  using D = DF;
#endif
  using D16 = hn::Rebind<hwy::float16_t, D>;

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
  static HWY_INLINE void store(Vec<D> a0, Vec<D> a1, Vec<D> a2, Vec<D> a3, int, const Sink& sink) {
    const hn::Rebind<uint16_t, D> bits;
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
  static constexpr bool kInPairs = HWY_TARGET == HWY_AVX3;

  static HWY_INLINE bool holds(int) { return true; }
  static HWY_INLINE bool holds(int, Vec<D> a0, Vec<D> a1, Vec<D> a2, Vec<D> a3) {
#if HWY_TARGET == HWY_AVX3
    return (_mm256_cmp_ps_mask(a0.raw, a1.raw, _CMP_UNORD_Q) |
            _mm256_cmp_ps_mask(a2.raw, a3.raw, _CMP_UNORD_Q)) == 0;
#else
    // A sum of NaN is one; so may others be, which costs time and nothing else.
    const auto all = hn::Add(hn::Add(a0, a1), hn::Add(a2, a3));
    return hn::AllFalse(D(), hn::IsNaN(all));
#endif
  }
};

#endif  // HWY_TARGET != HWY_SCALAR

}  // namespace
}  // namespace hfr
