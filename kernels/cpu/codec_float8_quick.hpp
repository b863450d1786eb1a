// The codec of the 8-bit floats for AVX-512 with BF16, VBMI and VBMI2; codec.hpp says what a
// codec is.
//
// Scaled bits are rounded by VCVTNE2PS2BF16: moved down until the code's last bit is bit 16 they
// are what it rounds to nearest even, with a 1 above them so that no number is a denormal, which it
// would take for zero.
//
//   FP32 in scaled bits   s000eeee emmm.... ........ ........      (E4M3; E5M2 goes a bit further)
//   moved down            0100s000 eeeeemmm ........ ........
//
// What falls off the end decides nothing but ties, and those only when it is not zero. Up to
// kExactSources need no look: four E4M3 numbers make at most 1792, a multiple of 2^-9, 20 bits; and
// of two E5M2 numbers, 3 bits each, none reaches from a tie's bit to the 20th.
#pragma once

#include "cpu/codec_float8.hpp"

#if defined(HFR_AVX512_BF16)

namespace hfr {
namespace {

template <typename T>
struct QuickFloat8Codec : Float8Codec<T, true> {
  using Base = Float8Codec<T, true>;
  using typename Base::D;
  using typename Base::D8;

  template <typename Sink>
  static HWY_INLINE void store(Vec<D> a0, Vec<D> a1, Vec<D> a2, Vec<D> a3, int num_srcs,
                               const Sink& sink) {
    if (num_srcs > kExactSources && HWY_UNLIKELY(drops_bits(a0, a1, a2, a3))) {
      Base::store(a0, a1, a2, a3, num_srcs, sink);
      return;
    }
    const auto even = rounded(a0, a1);
    const auto odd = rounded(a2, a3);
    const auto code = _mm512_permutex2var_epi8(even, _mm512_load_si512(kCodes.at), odd);
    const auto above = _mm512_permutex2var_epi8(even, _mm512_load_si512(kAbove.at), odd);
    const auto most = _mm512_set1_epi8(Base::Format::kOverflow);
    const auto sign = _mm512_slli_epi16(above, kDown);
    sink(D8(), Vec<D8>{with_sign(_mm512_min_epu8(code, most), sign)}, size_t{0});
  }

 private:
  static constexpr int kDown = Base::kShift - 16;
  static constexpr int kExactSources = std::is_same_v<T, Float8E4M3> ? 4 : 2;

  // Where rounded() put the code of element i, and the byte above it, which ends in the sign.
  struct Places {
    uint8_t at[64];
  };
  static constexpr Places places(int byte) {
    Places result{};
    for (int i = 0; i < 64; ++i) {
      const int k = i % 4;
      result.at[i] = static_cast<uint8_t>(64 * (k / 2) + 32 * (k % 2) + 2 * (i / 4) + byte);
    }
    return result;
  }
  alignas(64) static constexpr Places kCodes = places(0);
  alignas(64) static constexpr Places kAbove = places(1);

  static HWY_INLINE bool drops_bits(Vec<D> a0, Vec<D> a1, Vec<D> a2, Vec<D> a3) {
    const DU d;
    const auto all = hn::Or(hn::Or(hn::BitCast(d, a0), hn::BitCast(d, a1)),
                            hn::Or(hn::BitCast(d, a2), hn::BitCast(d, a3)));
    return _mm512_test_epi32_mask(all.raw, _mm512_set1_epi32((1 << kDown) - 1)) != 0;
  }
  // 32 codes in 16-bit halves: those of `first`, then those of `second`.
  static HWY_INLINE __m512i rounded(Vec<D> first, Vec<D> second) {
    const auto one = _mm512_set1_epi32(1 << (kDown - 2));
    const auto a = _mm512_shrdi_epi32(_mm512_castps_si512(first.raw), one, kDown);
    const auto b = _mm512_shrdi_epi32(_mm512_castps_si512(second.raw), one, kDown);
    return (__m512i)_mm512_cvtne2ps_pbh(_mm512_castsi512_ps(b), _mm512_castsi512_ps(a));
  }
  static HWY_INLINE __m512i with_sign(__m512i code, __m512i sign) {
    constexpr int kThirdChooses = 0xe4;  // a 1 there takes the first's bit, a 0 the second's
    return _mm512_ternarylogic_epi64(code, sign, _mm512_set1_epi8(0x7f), kThirdChooses);
  }
};

}  // namespace
}  // namespace hfr

#endif  // HFR_AVX512_BF16
