// The body of the reduction kernels. Each reduce_<isa>.cc defines HFR_ISA and includes it with its
// own compiler flags; everything here has internal linkage, so the files cannot mix.
//
// Works in blocks that stay in the first-level cache: each source is read once, in order, into
// accumulators, and the block is then stored to every destination.
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <type_traits>

#if defined(__AVX2__) || defined(__AVX512F__)
#include <immintrin.h>
#endif

#include "cpu/reduce.hpp"
#include "cpu/small_float.hpp"

// Sources and destinations are the same address or apart: no iteration reads what another wrote.
// clang checks that at run time by itself, and warns where a promise does not help it.
#if defined(__clang__)
#define HFR_NO_ALIAS
#else
#define HFR_NO_ALIAS _Pragma("GCC ivdep")
#endif

#ifndef HFR_ISA
#error "define HFR_ISA before including reduce_body.hpp"
#endif

namespace hfr {
namespace {

// What a type accumulates in.
template <typename T>
struct Accumulate {
  using Type = T;
};
template <>
struct Accumulate<Float16> {
  using Type = float;
};
template <>
struct Accumulate<BFloat16> {
  using Type = float;
};
template <>
struct Accumulate<Float8E4M3> {
  using Type = float;
};
template <>
struct Accumulate<Float8E5M2> {
  using Type = float;
};

template <typename T>
constexpr bool kIsSmallFloat = !std::is_arithmetic_v<T>;

template <typename T>
inline typename Accumulate<T>::Type load(T value) {
  if constexpr (kIsSmallFloat<T>) {
    return load_float(value);
  } else {
    return value;
  }
}
template <typename T>
inline T store(typename Accumulate<T>::Type value) {
  if constexpr (kIsSmallFloat<T>) {
    return store_float<T>(value);
  } else {
    return value;
  }
}

// Integers wrap: the arithmetic is done unsigned, and at least 32 bits wide so that nothing is
// promoted to int.
template <typename T>
inline T wrap_add(T a, T b) {
  using U = std::conditional_t<(sizeof(T) <= 4), uint32_t, uint64_t>;
  return static_cast<T>(static_cast<U>(a) + static_cast<U>(b));
}
template <typename T>
inline T wrap_mul(T a, T b) {
  using U = std::conditional_t<(sizeof(T) <= 4), uint32_t, uint64_t>;
  return static_cast<T>(static_cast<U>(a) * static_cast<U>(b));
}

template <Op kOp, typename A>
inline A combine(A a, A b) {
  if constexpr (kOp == Op::kSum || kOp == Op::kAvg) {
    if constexpr (std::is_integral_v<A>) {
      return wrap_add(a, b);
    } else {
      return a + b;
    }
  } else if constexpr (kOp == Op::kProd) {
    if constexpr (std::is_integral_v<A>) {
      return wrap_mul(a, b);
    } else {
      return a * b;
    }
  } else {
    A best = kOp == Op::kMin ? (b < a ? b : a) : (a < b ? b : a);
    if constexpr (std::is_floating_point_v<A>) {
      // The comparisons above keep a NaN in a and drop one in b.
      best = b != b ? b : best;
    }
    return best;
  }
}

template <typename A>
inline A divide(A sum, int divisor) {
  if constexpr (std::is_unsigned_v<A>) {
    return static_cast<A>(sum /
                          static_cast<std::conditional_t<(sizeof(A) < 4), unsigned, A>>(divisor));
  } else {
    return static_cast<A>(sum / static_cast<std::conditional_t<(sizeof(A) < 4), int, A>>(divisor));
  }
}

// Copies a finished block out. Non-temporal when asked and aligned; the caller fences once at the
// end.
inline void store_block(void* dst, const void* block, size_t bytes, bool streaming) {
#if defined(__AVX512F__)
  if (streaming && reinterpret_cast<uintptr_t>(dst) % 64 == 0) {
    auto* to = static_cast<char*>(dst);
    auto* from = static_cast<const char*>(block);
    for (; bytes >= 64; bytes -= 64, to += 64, from += 64) {
      _mm512_stream_si512(reinterpret_cast<__m512i*>(to), _mm512_loadu_si512(from));
    }
    std::memcpy(to, from, bytes);
    return;
  }
#elif defined(__AVX2__)
  if (streaming && reinterpret_cast<uintptr_t>(dst) % 32 == 0) {
    auto* to = static_cast<char*>(dst);
    auto* from = static_cast<const char*>(block);
    for (; bytes >= 32; bytes -= 32, to += 32, from += 32) {
      _mm256_stream_si256(reinterpret_cast<__m256i*>(to),
                          _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)));
    }
    std::memcpy(to, from, bytes);
    return;
  }
#endif
  (void)streaming;
  std::memcpy(dst, block, bytes);
}

inline void fence_streaming() {
#if defined(__AVX2__) || defined(__AVX512F__)
  _mm_sfence();
#endif
}

// Two sources into one destination, nothing in between: the commonest case, and the one where a
// block's detour through the cache would show.
template <typename T, Op kOp>
void reduce_pair(const ReduceArgs& args) {
  auto* dst = static_cast<T*>(args.dsts[0]);
  const auto* a = static_cast<const T*>(args.srcs[0]);
  const auto* b = static_cast<const T*>(args.srcs[1]);
  const int divisor = args.divisor;
  HFR_NO_ALIAS
  for (size_t i = 0; i < args.count; ++i) {
    auto value = combine<kOp>(load(a[i]), load(b[i]));
    if constexpr (kOp == Op::kAvg) value = divide(value, divisor);
    dst[i] = store<T>(value);
  }
}

template <typename T, Op kOp>
void reduce_blocks(const ReduceArgs& args) {
  using A = typename Accumulate<T>::Type;
  constexpr size_t kBlock = 4096 / sizeof(A);
  alignas(64) A sums[kBlock];
  alignas(64) T block[kBlock];
  size_t first = 0;
  size_t step = kBlock;
  if (args.streaming) {
    // The first block ends where the first destination meets a cache line.
    size_t past = reinterpret_cast<uintptr_t>(args.dsts[0]) % 64;
    if (past != 0) step = (64 - past) / sizeof(T);
  }
  while (first < args.count) {
    const size_t size = std::min(step, args.count - first);
    step = kBlock;
    const auto* src = static_cast<const T*>(args.srcs[0]) + first;
    for (size_t i = 0; i < size; ++i) sums[i] = load(src[i]);
    int s = 1;
    for (; s + 1 < args.num_srcs; s += 2) {
      const auto* x = static_cast<const T*>(args.srcs[s]) + first;
      const auto* y = static_cast<const T*>(args.srcs[s + 1]) + first;
      for (size_t i = 0; i < size; ++i) {
        sums[i] = combine<kOp>(combine<kOp>(sums[i], load(x[i])), load(y[i]));
      }
    }
    if (s < args.num_srcs) {
      const auto* x = static_cast<const T*>(args.srcs[s]) + first;
      for (size_t i = 0; i < size; ++i) sums[i] = combine<kOp>(sums[i], load(x[i]));
    }
    if constexpr (kOp == Op::kAvg) {
      for (size_t i = 0; i < size; ++i) sums[i] = divide(sums[i], args.divisor);
    }
    const void* finished = sums;
    if constexpr (kIsSmallFloat<T>) {
      for (size_t i = 0; i < size; ++i) block[i] = store<T>(sums[i]);
      finished = block;
    }
    for (int d = 0; d < args.num_dsts; ++d) {
      store_block(static_cast<T*>(args.dsts[d]) + first, finished, size * sizeof(T),
                  args.streaming);
    }
    first += size;
  }
  if (args.streaming) fence_streaming();
}

template <typename T, Op kOp>
void reduce(const ReduceArgs& args) {
  if (args.num_srcs == 2 && args.num_dsts == 1 && !args.streaming) {
    reduce_pair<T, kOp>(args);
  } else {
    reduce_blocks<T, kOp>(args);
  }
}

template <typename T>
constexpr void fill_row(ReduceKernel (&row)[kNumOps]) {
  row[static_cast<int>(Op::kSum)] = reduce<T, Op::kSum>;
  row[static_cast<int>(Op::kProd)] = reduce<T, Op::kProd>;
  row[static_cast<int>(Op::kMin)] = reduce<T, Op::kMin>;
  row[static_cast<int>(Op::kMax)] = reduce<T, Op::kMax>;
  row[static_cast<int>(Op::kAvg)] = reduce<T, Op::kAvg>;
}

constexpr KernelTable make_table(const char* name) {
  KernelTable table{};
  table.name = name;
  auto row = [&](DType dtype) -> ReduceKernel(&)[kNumOps] {
    return table.reduce[static_cast<int>(dtype)];
  };
  fill_row<int8_t>(row(DType::kInt8));
  fill_row<uint8_t>(row(DType::kUint8));
  fill_row<int16_t>(row(DType::kInt16));
  fill_row<uint16_t>(row(DType::kUint16));
  fill_row<int32_t>(row(DType::kInt32));
  fill_row<uint32_t>(row(DType::kUint32));
  fill_row<int64_t>(row(DType::kInt64));
  fill_row<uint64_t>(row(DType::kUint64));
  fill_row<Float16>(row(DType::kFloat16));
  fill_row<BFloat16>(row(DType::kBFloat16));
  fill_row<float>(row(DType::kFloat32));
  fill_row<double>(row(DType::kFloat64));
  fill_row<Float8E4M3>(row(DType::kFloat8E4M3));
  fill_row<Float8E5M2>(row(DType::kFloat8E5M2));
  return table;
}

}  // namespace

extern const KernelTable HFR_KERNELS;
constexpr KernelTable HFR_KERNELS = make_table(HFR_ISA);

}  // namespace hfr
