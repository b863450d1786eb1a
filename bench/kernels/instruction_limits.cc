// What the small floats' instructions allow: loops over a kernel's arrays with the fewest
// instructions known to add them in FP32 and round once, without the branches that make a kernel
// right for every value. Two ways for fp8, as neither is the shorter for each number of inputs.
#include "limits.hpp"

#if defined(__x86_64__)
#include <immintrin.h>
#if !defined(__clang__)
// g++ 12 takes what its own intrinsics leave undefined on purpose for a mistake.
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif
#endif

namespace hfr_bench {
namespace {

#if defined(__x86_64__)

#define HFR_SMALL_FLOATS                                                             \
  __attribute__((                                                                    \
      target("avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx512vbmi2,avx512bf16," \
             "avx2,fma,f16c")))

inline const char* at(const void* array, size_t i) { return static_cast<const char*>(array) + i; }

// A conversion and an addition for eight elements of each input, a conversion for the result.
HFR_SMALL_FLOATS void float16(void* dst, const void* const* srcs, int num_srcs, size_t count) {
  constexpr size_t kVectors = 8;
  constexpr size_t kBytes = 16;
  __m256 one = _mm256_set1_ps(1.0f);
  asm("" : "+v"(one));  // by the multiplier, which conversions leave alone
  for (size_t i = 0; i < count; i += kBytes * kVectors) {
    __m256 a[kVectors] = {};
    for (size_t k = 0; k < kVectors; ++k) {
      const char* from = at(srcs[0], i) + kBytes * k;
      a[k] = _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from)));
    }
    for (int s = 1; s < num_srcs; ++s) {
      const char* from = at(srcs[s], i);
      for (size_t k = 0; k < kVectors; ++k) {
        const auto* vector = reinterpret_cast<const __m128i*>(from + kBytes * k);
        a[k] = _mm256_fmadd_ps(_mm256_cvtph_ps(_mm_loadu_si128(vector)), one, a[k]);
      }
    }
    char* to = static_cast<char*>(dst) + i;
    for (size_t k = 0; k < kVectors; ++k) {
      _mm_storeu_si128(reinterpret_cast<__m128i*>(to + kBytes * k),
                       _mm256_cvtps_ph(a[k], _MM_FROUND_TO_NEAREST_INT));
    }
  }
}

// 64 codes from FP32 sums in scaled bits (kernels/cpu/codec_float8_quick.hpp).
HFR_SMALL_FLOATS inline __m512i codes(const __m512 (&a)[4]) {
  constexpr int kDown = 4;
  const __m512i above = _mm512_set1_epi32(1 << (kDown - 2));
  __m512 moved[4];
  for (int k = 0; k < 4; ++k) {
    moved[k] = _mm512_castsi512_ps(_mm512_shrdi_epi32(_mm512_castps_si512(a[k]), above, kDown));
  }
  const auto even = (__m512i)_mm512_cvtne2ps_pbh(moved[1], moved[0]);
  const auto odd = (__m512i)_mm512_cvtne2ps_pbh(moved[3], moved[2]);
  __m512i places = _mm512_set1_epi64(0x6040220062422002);
  const __m512i code = _mm512_permutex2var_epi8(even, places, odd);
  places = _mm512_set1_epi64(0x6141230163432103);
  const __m512i sign = _mm512_slli_epi16(_mm512_permutex2var_epi8(even, places, odd), kDown);
  return _mm512_ternarylogic_epi64(_mm512_min_epu8(code, _mm512_set1_epi8(0x7f)), sign,
                                   _mm512_set1_epi8(0x7f), 0xe4);
}

// As the kernel does it: bytes are spread to where FP32 has its exponent, and a guard looks for
// what that cannot hold.
HFR_SMALL_FLOATS void spread_bytes(void* dst, const void* const* srcs, int num_srcs, size_t count) {
  const __m512i to_odd = _mm512_set1_epi16(1 << 12);
  const __m512i to_even = _mm512_set1_epi16(1 << 4);
  const __m512i bits = _mm512_set1_epi16(static_cast<short>(0x87f0));
  const __m512i upper = _mm512_set1_epi32(static_cast<int>(0xffff0000u));
  const __m512i magnitude = _mm512_set1_epi8(0x7f);
  __mmask64 specials = 0;
  for (size_t i = 0; i < count; i += 64) {
    __m512 a[4];
    __m512i guard = _mm512_setzero_si512();
    for (int s = 0; s < num_srcs; ++s) {
      const __m512i x = _mm512_loadu_si512(at(srcs[s], i));
      guard = _mm512_max_epu8(guard, _mm512_and_si512(x, magnitude));
      const __m512i even = _mm512_and_si512(_mm512_maddubs_epi16(x, to_even), bits);
      const __m512i odd = _mm512_and_si512(_mm512_maddubs_epi16(x, to_odd), bits);
      const __m512 wide[4] = {_mm512_castsi512_ps(_mm512_slli_epi32(even, 16)),
                              _mm512_castsi512_ps(_mm512_slli_epi32(odd, 16)),
                              _mm512_castsi512_ps(_mm512_and_si512(even, upper)),
                              _mm512_castsi512_ps(_mm512_and_si512(odd, upper))};
      for (int k = 0; k < 4; ++k) a[k] = s == 0 ? wide[k] : _mm512_add_ps(a[k], wide[k]);
    }
    specials |= _mm512_cmpeq_epi8_mask(guard, magnitude);
    _mm512_storeu_si512(static_cast<char*>(dst) + i, codes(a));
  }
  asm volatile("" : : "r"(specials));
}

// BF16 from two tables, which hold infinities, NaN and denormals as they are; the product with 1
// and 0 takes an element from its pair and adds it. It loses the sign of zeros, so the signs are
// gathered beside, and sums must be scaled before they are rounded.
HFR_SMALL_FLOATS void tables(void* dst, const void* const* srcs, int num_srcs, size_t count) {
  __m512i table[4];
  for (int k = 0; k < 4; ++k) {
    table[k] = _mm512_set1_epi64(0x3f3e3d3c3b3a3938);
    asm("" : "+v"(table[k]));  // lest the compiler sees what is in them
  }
  const __m512i sign = _mm512_set1_epi8(static_cast<char>(0x80));
  const auto first = (__m512bh)_mm512_set1_epi32(0x00003f80);
  const auto second = (__m512bh)_mm512_set1_epi32(0x3f800000);
  const __m512 scale = _mm512_set1_ps(0x1p-60f);
  __mmask16 specials = 0;
  for (size_t i = 0; i < count; i += 64) {
    __m512 a[4] = {};
    __m512i signs = sign;
    for (int s = 0; s < num_srcs; ++s) {
      const __m512i x = _mm512_loadu_si512(at(srcs[s], i));
      signs = _mm512_and_si512(signs, x);
      const __m512i low = _mm512_permutex2var_epi8(table[0], x, table[1]);
      const __m512i unsigned_high = _mm512_permutex2var_epi8(table[2], x, table[3]);
      const __m512i high = _mm512_ternarylogic_epi64(unsigned_high, x, sign, 0xe4);
      const auto p = (__m512bh)_mm512_unpacklo_epi8(low, high);
      const auto q = (__m512bh)_mm512_unpackhi_epi8(low, high);
      a[0] = _mm512_dpbf16_ps(a[0], p, first);
      a[1] = _mm512_dpbf16_ps(a[1], p, second);
      a[2] = _mm512_dpbf16_ps(a[2], q, first);
      a[3] = _mm512_dpbf16_ps(a[3], q, second);
    }
    specials |= _mm512_cmp_ps_mask(a[0], a[1], _CMP_UNORD_Q);
    specials |= _mm512_cmp_ps_mask(a[2], a[3], _CMP_UNORD_Q);
    for (auto& sum : a) sum = _mm512_mul_ps(sum, scale);
    _mm512_storeu_si512(static_cast<char*>(dst) + i, _mm512_or_si512(codes(a), signs));
  }
  asm volatile("" : : "r"(static_cast<unsigned>(specials)));
}

constexpr Limit kFloat16[] = {{"its instructions", float16}};
constexpr Limit kFloat8[] = {{"spread bytes", spread_bytes}, {"tables", tables}};

#endif

}  // namespace

std::span<const Limit> instruction_limits([[maybe_unused]] hfr::DType dtype) {
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (!__builtin_cpu_supports("avx512vbmi2") || !__builtin_cpu_supports("avx512bf16")) return {};
  if (dtype == hfr::DType::kFloat16) return kFloat16;
  if (dtype == hfr::DType::kFloat8E4M3 || dtype == hfr::DType::kFloat8E5M2) return kFloat8;
#endif
  return {};
}

}  // namespace hfr_bench
