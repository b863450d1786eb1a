#include "limits.hpp"

#include <cstdint>
#include <cstring>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace hfr_bench {
namespace {

// Keeps a value that nobody uses.
template <typename T>
inline void keep(const T& value) {
  asm volatile("" : : "m"(value) : "memory");
}

#if defined(__x86_64__)

#define HFR_AVX512 __attribute__((target("avx512f")))
#define HFR_AVX2 __attribute__((target("avx2")))

// A step takes kVectors vectors of each source: how often to change streams is a choice too.
template <size_t kVectors, size_t kPrefetch, bool kStreaming = true>
HFR_AVX512 void xor512(void* dst, const void* const* srcs, int num_srcs, size_t count) {
  for (size_t i = 0; i < count; i += 64 * kVectors) {
    __m512i a[kVectors] = {};
    for (int s = 0; s < num_srcs; ++s) {
      const char* from = static_cast<const char*>(srcs[s]) + i;
      for (size_t k = 0; k < kVectors; ++k) {
        if (kPrefetch > 0) _mm_prefetch(from + kPrefetch + 64 * k, _MM_HINT_T0);
        a[k] = _mm512_xor_si512(a[k], _mm512_loadu_si512(from + 64 * k));
      }
    }
    auto* to = reinterpret_cast<__m512i*>(static_cast<char*>(dst) + i);
    for (size_t k = 0; k < kVectors; ++k) {
      if (kStreaming) {
        _mm512_stream_si512(to + k, a[k]);
      } else {
        _mm512_storeu_si512(to + k, a[k]);
      }
    }
  }
  if (kStreaming) _mm_sfence();
}

HFR_AVX512 void read512(void*, const void* const* srcs, int num_srcs, size_t count) {
  __m512i a[8] = {};
  for (int s = 0; s < num_srcs; ++s) {
    const char* from = static_cast<const char*>(srcs[s]);
    for (size_t i = 0; i < count; i += 512) {
      for (size_t k = 0; k < 8; ++k) {
        a[k] = _mm512_xor_si512(a[k], _mm512_loadu_si512(from + i + 64 * k));
      }
    }
  }
  keep(a);
}

template <size_t kPrefetch, bool kStreaming = true>
HFR_AVX2 void xor256(void* dst, const void* const* srcs, int num_srcs, size_t count) {
  constexpr size_t kVectors = 4;
  for (size_t i = 0; i < count; i += 32 * kVectors) {
    __m256i a[kVectors] = {};
    for (int s = 0; s < num_srcs; ++s) {
      const char* from = static_cast<const char*>(srcs[s]) + i;
      for (size_t k = 0; k < kVectors; ++k) {
        if (kPrefetch > 0 && k % 2 == 0) _mm_prefetch(from + kPrefetch + 32 * k, _MM_HINT_T0);
        const auto* vector = reinterpret_cast<const __m256i*>(from + 32 * k);
        a[k] = _mm256_xor_si256(a[k], _mm256_loadu_si256(vector));
      }
    }
    auto* to = reinterpret_cast<__m256i*>(static_cast<char*>(dst) + i);
    for (size_t k = 0; k < kVectors; ++k) {
      if (kStreaming) {
        _mm256_stream_si256(to + k, a[k]);
      } else {
        _mm256_storeu_si256(to + k, a[k]);
      }
    }
  }
  if (kStreaming) _mm_sfence();
}

HFR_AVX2 void read256(void*, const void* const* srcs, int num_srcs, size_t count) {
  __m256i a[8] = {};
  for (int s = 0; s < num_srcs; ++s) {
    const char* from = static_cast<const char*>(srcs[s]);
    for (size_t i = 0; i < count; i += 256) {
      for (size_t k = 0; k < 8; ++k) {
        const auto* vector = reinterpret_cast<const __m256i*>(from + i + 32 * k);
        a[k] = _mm256_xor_si256(a[k], _mm256_loadu_si256(vector));
      }
    }
  }
  keep(a);
}

constexpr Limit kStreaming512[] = {
    {"xor by 64 B", xor512<1, 0>},          {"xor by 128 B", xor512<2, 0>},
    {"xor by 256 B", xor512<4, 0>},         {"64 B, 512 B ahead", xor512<1, 512>},
    {"128 B, 512 B ahead", xor512<2, 512>}, {"128 B, 1 KiB ahead", xor512<2, 1024>},
    {"256 B, 1 KiB ahead", xor512<4, 1024>}};
constexpr Limit kCached512[] = {{"read", read512}, {"xor by 256 B", xor512<4, 0, false>}};
constexpr Limit kStreaming256[] = {{"xor by 128 B", xor256<0>},
                                   {"128 B, 512 B ahead", xor256<512>},
                                   {"128 B, 1 KiB ahead", xor256<1024>}};
constexpr Limit kCached256[] = {{"read", read256}, {"xor by 128 B", xor256<0, false>}};

#endif

void plain(void* dst, const void* const* srcs, int num_srcs, size_t count) {
  for (size_t i = 0; i < count; i += 256) {
    uint64_t a[32] = {};
    for (int s = 0; s < num_srcs; ++s) {
      uint64_t x[32];
      std::memcpy(x, static_cast<const char*>(srcs[s]) + i, sizeof(x));
      for (int k = 0; k < 32; ++k) a[k] ^= x[k];
    }
    if (dst != nullptr) std::memcpy(static_cast<char*>(dst) + i, a, sizeof(a));
    keep(a);
  }
}
constexpr Limit kPlain[] = {{"xor", plain}};

}  // namespace

std::span<const Limit> streaming_limits() {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx512f")) return kStreaming512;
  if (__builtin_cpu_supports("avx2")) return kStreaming256;
#endif
  return kPlain;
}

std::span<const Limit> cached_limits() {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx512f")) return kCached512;
  if (__builtin_cpu_supports("avx2")) return kCached256;
#endif
  return kPlain;
}

}  // namespace hfr_bench
