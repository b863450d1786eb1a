// The body of the reduction kernels. Each reduce_<isa>.cc defines HFR_ISA and HFR_KERNELS and
// includes it with its own compiler flags, from which Highway takes the vectors; everything here
// has internal linkage, so the files cannot mix.
//
// A kernel works in steps of four vectors of accumulators (codec.hpp): each source is read once, in
// order, and added in registers; the step's result is stored to every destination. What is left at
// the end, and before a streaming destination meets a cache line, runs through the same step on
// copies of the elements (or, where masks are free, through masked vectors), so that every element
// sees the same arithmetic.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <type_traits>

#include "cpu/codec.hpp"
#include "cpu/codec_float8.hpp"
#include "cpu/codec_float8_quick.hpp"
#include "cpu/float_mode.hpp"
#include "cpu/reduce.hpp"

#ifndef HFR_ISA
#error "define HFR_ISA before including reduce_body.hpp"
#endif

namespace hfr {
namespace {

// The low bits of sums and products do not depend on the sign: both signs share one kernel.
template <Op kOp, typename T>
using Arithmetic = std::conditional_t<
    std::is_integral_v<T> && (kOp == Op::kSum || kOp == Op::kProd || kOp == Op::kPremulSum),
    std::make_unsigned<std::conditional_t<std::is_integral_v<T>, T, int>>, std::type_identity<T>>;

#if HWY_TARGET == HWY_SCALAR
template <typename T, Op kOp>
struct CodecOf {
  using Type = std::conditional_t<std::is_arithmetic_v<T>, PlainCodec<T>, OneLaneCodec<T>>;
};
#else
template <typename T, Op kOp>
struct CodecOf {
#if HWY_TARGET == HWY_AVX3
  using Type = std::conditional_t<std::is_floating_point_v<T>, QuickPlainCodec<T>, PlainCodec<T>>;
#else
  using Type = PlainCodec<T>;
#endif
};
template <Op kOp>
struct CodecOf<BFloat16, kOp> {
#if defined(HFR_AVX512_BF16)
  using Type = QuickBFloat16Codec;
#else
  using Type = BFloat16Codec;
#endif
};
template <Op kOp>
struct CodecOf<Float16, kOp> {
  using Type = QuickFloat16Codec;
};
#if defined(HFR_AVX512_BF16)
template <typename T>
using ScaledFloat8Codec = QuickFloat8Codec<T>;
#else
template <typename T>
using ScaledFloat8Codec = Float8Codec<T, true>;
#endif
template <typename T, Op kOp>
using Float8CodecOf = std::conditional_t<kOp == Op::kProd || kOp == Op::kPremulSum,
                                         Float8Codec<T, false>, ScaledFloat8Codec<T>>;
template <Op kOp>
struct CodecOf<Float8E4M3, kOp> {
  using Type = Float8CodecOf<Float8E4M3, kOp>;
};
template <Op kOp>
struct CodecOf<Float8E5M2, kOp> {
  using Type = Float8CodecOf<Float8E5M2, kOp>;
};
#endif

template <typename D>
HWY_INLINE Vec<D> multiply(D d, Vec<D> a, Vec<D> b) {
  using T = hn::TFromD<D>;
  if constexpr (sizeof(T) == 1 && HWY_TARGET != HWY_SCALAR) {
    const hn::Repartition<uint16_t, D> wide;
    const auto even = hn::And(hn::Mul(hn::BitCast(wide, a), hn::BitCast(wide, b)),
                              hn::Set(wide, uint16_t{0x00ff}));
    const auto odd =
        hn::Mul(hn::ShiftRight<8>(hn::BitCast(wide, a)), hn::ShiftRight<8>(hn::BitCast(wide, b)));
    return hn::BitCast(d, hn::Or(even, hn::ShiftLeft<8>(odd)));
  } else {
    return hn::Mul(a, b);
  }
}

template <Op kOp, typename D>
HWY_INLINE Vec<D> combine(D d, Vec<D> a, Vec<D> b) {
  using T = hn::TFromD<D>;
  if constexpr (kOp == Op::kProd) {
    return multiply(d, a, b);
  } else if constexpr (kOp == Op::kMin || kOp == Op::kMax) {
    if constexpr (std::is_integral_v<T>) {
      return kOp == Op::kMin ? hn::Min(a, b) : hn::Max(a, b);
    } else {
      const auto better = kOp == Op::kMin ? hn::Lt(b, a) : hn::Lt(a, b);
      // The comparison keeps a NaN in a and drops one in b.
      return hn::IfThenElse(hn::IsNaN(b), b, hn::IfThenElse(better, b, a));
    }
  } else {
    return hn::Add(a, b);
  }
}

// Integer quotients truncate towards zero. No instruction set divides integer vectors; a float
// holds 16 bits exactly and a double 32, and their truncated quotients are then exact.
template <typename T>
HWY_INLINE void divide_integers(T* values, size_t count, int divisor) {
  using W =
      std::conditional_t<sizeof(T) <= 2, float, std::conditional_t<sizeof(T) == 4, double, T>>;
  for (size_t i = 0; i < count; ++i) {
    values[i] = static_cast<T>(static_cast<W>(values[i]) / static_cast<W>(divisor));
  }
}

// The largest step on any instruction set, in bytes.
constexpr size_t kMaxStepBytes = size_t{4} * HWY_MAX_BYTES;

// One call's arguments, typed.
template <typename T, Op kOp>
class Reduction {
 public:
  explicit Reduction(const ReduceArgs& args) : args_(args) {
    if constexpr (kOp == Op::kPremulSum) scales_ = static_cast<const A*>(args.scales);
  }

  HWY_INLINE void run() {
    [[maybe_unused]] const std::conditional_t<std::is_integral_v<T>, int, FloatMode> mode{};
    if constexpr (kMasksAreFree) {
      // What a call costs counts most here: no loop, and nothing to look up.
      if (args_.num_srcs == 2 && args_.num_dsts == 1 && args_.count <= hn::Lanes(D())) {
        return run_masked_part(0, args_.count, 2, 1);
      }
    }
    const size_t bytes = args_.count * sizeof(T) * static_cast<size_t>(args_.num_srcs + 1);
    if (args_.streaming || bytes > kCachedBytes) {
      run_steps<true>(0);
      if (args_.streaming) hwy::FlushStream();
      return;
    }
    // What a call sets up counts in the first-level cache: the commonest one goes straight to its
    // loop.
    const size_t done = args_.num_srcs == 2 && args_.num_dsts == 1 ? add_two<false>(0) : 0;
    if (done < args_.count) run_steps<false>(done);
  }

 private:
  using Codec = typename CodecOf<T, kOp>::Type;
  using D = typename Codec::D;
  using A = hn::TFromD<D>;

  // kFar: sources and destinations are further than the second-level cache, or are to be stored
  // past it.
  template <bool kFar>
  HWY_NOINLINE void run_steps(size_t i) const {
    const size_t step = Codec::step();
    if (kFar && args_.streaming) {
      const size_t past = reinterpret_cast<uintptr_t>(args_.dsts[0]) % kLine;
      if (past != 0) {
        i = std::min(args_.count, (kLine - past) / sizeof(T));
        for (size_t first = 0; first < i; first += step) run_part(first, std::min(step, i - first));
      }
    }
    while (true) {
      i = run_whole_steps<kFar>(i);
      if (i + step > args_.count) break;
      run_part(i, step);  // the codec gave up on this one
      i += step;
    }
    if (i < args_.count) run_part(i, args_.count - i);
  }

  // Runs steps from element i on; returns where the codec gave up, or where less than a step is
  // left.
  template <bool kFar>
  HWY_INLINE size_t run_whole_steps(size_t i) const {
    if (args_.num_srcs == 2 && args_.num_dsts == 1) return add_two<kFar>(i);
    // Many sources that are in the last cache come faster by longer steps.
    using Far = typename PastCaches<Codec>::Type;
    if constexpr (kFar && !std::is_same_v<Far, Codec>) {
      if (args_.from_memory) return add_many<kFar, Far>(i);
    }
    return add_many<kFar, Codec>(i);
  }

  template <bool kFar, typename C>
  HWY_INLINE size_t add_many(size_t i) const {
    const size_t step = C::step();
    const size_t count = args_.count;
    const int num_srcs = args_.num_srcs;
    const int num_dsts = args_.num_dsts;
    const void* const* srcs = args_.srcs;
    void* const* dsts = args_.dsts;
    T* const dst = static_cast<T*>(dsts[0]);
    const bool streaming = args_.streaming;
    const bool fetches = kFar && fetches_many(num_srcs);
    const auto source_at = [=](int s, size_t from) {
      return static_cast<const T*>(srcs[s]) + from;
    };
    const auto store = [=](auto d, auto vector, size_t to) {
      put<kFar>(d, vector, dst + to, streaming);
      for (int k = 1; k < num_dsts; ++k) {
        put<kFar>(d, vector, static_cast<T*>(dsts[k]) + to, streaming);
      }
    };
    if constexpr (C::kInPairs && !kFar) {
      if (!run_pairs<C>(i, source_at, num_srcs, store)) return i;
    }
    for (; i + step <= count; i += step) {
      const bool done = run_step<C>(
          [=](int s) {
            const T* from = source_at(s, i);
            return fetches ? fetch_ahead<C>(from) : from;
          },
          num_srcs, [=](auto d, auto vector, size_t offset) { store(d, vector, i + offset); });
      if (!done) break;
    }
    return i;
  }

  // The same for two sources and one destination, with nothing to look up between two steps.
  template <bool kFar>
  HWY_INLINE size_t add_two(size_t i) const {
    // Inside the caches the fewer turns of the loop are the better foreseen.
    using C = std::conditional_t<kFar, typename PastCaches<Codec>::Type, Codec>;
    const size_t step = C::step();
    const size_t count = args_.count;
    const bool streaming = args_.streaming;
    const T* a = static_cast<const T*>(args_.srcs[0]);
    const T* b = static_cast<const T*>(args_.srcs[1]);
    T* dst = static_cast<T*>(args_.dsts[0]);
    const auto source_at = [=](int s, size_t from) { return (s == 0 ? a : b) + from; };
    const auto store = [=](auto d, auto vector, size_t to) {
      put<kFar>(d, vector, dst + to, streaming);
    };
    if constexpr (C::kInPairs && !kFar) {
      if (!run_pairs<C>(i, source_at, 2, store)) return i;
    }
    for (; i + step <= count; i += step) {
      const bool done = run_step<C>(
          [=](int s) {
            const T* from = source_at(s, i);
            return kFar ? fetch_ahead<C>(from) : from;
          },
          2, [=](auto d, auto vector, size_t offset) { store(d, vector, i + offset); });
      if (!done) break;
    }
    return i;
  }

  // Past the caches a step's work is too short for the processor to look far enough ahead by
  // itself.
  template <typename C>
  static HWY_INLINE const T* fetch_ahead(const T* from) {
    const char* next = reinterpret_cast<const char*>(from) + kFetchAheadBytes;
    for (size_t i = 0; i < C::step() * sizeof(T); i += kLine) hwy::Prefetch(next + i);
    return from;
  }

  // A step or less, with a codec that never gives up.
  HWY_NOINLINE void run_part(size_t first, size_t count) const {
    if constexpr (kMasksAreFree) {
      run_masked_part(first, first + count, args_.num_srcs, args_.num_dsts);
    } else {
      run_copied_part(first, count);
    }
  }

  // Elements that are added as they are: a vector at a time, without what is past the end. Nothing
  // is stored that is loaded again at another width, which is what copies of a few bytes cost.
  HWY_INLINE void run_masked_part(size_t first, size_t end, int num_srcs, int num_dsts) const {
    const D d;
    const size_t lanes = hn::Lanes(d);
    for (; first < end; first += lanes) {
      const auto inside = hn::FirstN(d, std::min(lanes, end - first));
      auto source = [&](int s) {
        return hn::MaskedLoad(inside, d, static_cast<const A*>(args_.srcs[s]) + first);
      };
      auto none = hn::Zero(d);
      auto sum = source(0);
      scale(0, sum, none, none, none);
      for (int s = 1; s < num_srcs; ++s) {
        auto next = source(s);
        scale(s, next, none, none, none);
        sum = combine<kOp>(d, sum, next);
      }
      average(sum, none, none, none);
      if constexpr (std::is_floating_point_v<A>) settle_nan(sum, none, none, none);
      for (int k = 0; k < num_dsts; ++k) {
        hn::BlendedStore(sum, inside, d, static_cast<A*>(args_.dsts[k]) + first);
      }
    }
  }

  // On copies of the elements.
  HWY_INLINE void run_copied_part(size_t first, size_t count) const {
    alignas(kLine) T in[kMaxStepBytes / sizeof(T)] = {};
    alignas(kLine) T out[kMaxStepBytes / sizeof(T)];
    const size_t bytes = count * sizeof(T);
    run_step<typename Codec::Fallback>(
        [&](int s) {
          copy_few(in, static_cast<const T*>(args_.srcs[s]) + first, bytes);
          return in;
        },
        args_.num_srcs,
        [&](auto d, auto vector, size_t offset) { put<false>(d, vector, out + offset, false); });
    for (int k = 0; k < args_.num_dsts; ++k) {
      copy_few(static_cast<T*>(args_.dsts[k]) + first, out, bytes);
    }
  }

  // Runs pairs of steps from element i on, which moves to where less than a pair is left, or where
  // the codec gave up: then false.
  template <typename C, typename SourceAt, typename Store>
  HWY_INLINE bool run_pairs(size_t& i, const SourceAt& source_at, int num_srcs,
                            const Store& store) const {
    const D d;
    const size_t step = C::step();
    const size_t count = args_.count;
    for (; i + 2 * step <= count; i += step) {
      auto a0 = hn::Zero(d), a1 = a0, a2 = a0, a3 = a0;
      auto c0 = a0, c1 = a0, c2 = a0, c3 = a0;
      auto guard = C::new_guard(), second_guard = C::new_guard();
      const T* from = source_at(0, i);
      C::load(from, a0, a1, a2, a3, guard);
      C::load(from + step, c0, c1, c2, c3, second_guard);
      scale(0, a0, a1, a2, a3);
      scale(0, c0, c1, c2, c3);
      for (int s = 1; s < num_srcs; ++s) {
        from = source_at(s, i);
        add_source<C>(s, from, a0, a1, a2, a3, guard);
        add_source<C>(s, from + step, c0, c1, c2, c3, second_guard);
      }
      auto sink = [&](auto tag, auto vector, size_t offset) { store(tag, vector, i + offset); };
      if (!finish_step<C>(a0, a1, a2, a3, guard, num_srcs, sink)) return false;
      i += step;
      if (!finish_step<C>(c0, c1, c2, c3, second_guard, num_srcs, sink)) return false;
    }
    return true;
  }

  // source_at(s) is where source s's elements of this step are. False: nothing was stored, as the
  // codec cannot hold one of the elements or of the results.
  template <typename C, typename SourceAt, typename Sink>
  HWY_INLINE bool run_step(const SourceAt& source_at, int num_srcs, const Sink& sink) const {
    const D d;
    auto a0 = hn::Zero(d), a1 = a0, a2 = a0, a3 = a0;
    auto guard = C::new_guard();
    C::load(source_at(0), a0, a1, a2, a3, guard);
    scale(0, a0, a1, a2, a3);
    for (int s = 1; s < num_srcs; ++s) add_source<C>(s, source_at(s), a0, a1, a2, a3, guard);
    return finish_step<C>(a0, a1, a2, a3, guard, num_srcs, sink);
  }

  using V = Vec<D>;
  template <typename C, typename Guard>
  HWY_INLINE void add_source(int s, const T* from, V& a0, V& a1, V& a2, V& a3, Guard& guard) const {
    const D d;
    auto b0 = hn::Zero(d), b1 = b0, b2 = b0, b3 = b0;
    C::load(from, b0, b1, b2, b3, guard);
    scale(s, b0, b1, b2, b3);
    a0 = combine_by<C::kMultiplier == Multiplier::kAll>(a0, b0);
    a1 = combine_by<C::kMultiplier != Multiplier::kNone>(a1, b1);
    a2 = combine_by<C::kMultiplier == Multiplier::kAll>(a2, b2);
    a3 = combine_by<C::kMultiplier != Multiplier::kNone>(a3, b3);
  }

  template <typename C, typename Guard, typename Sink>
  HWY_INLINE bool finish_step(V& a0, V& a1, V& a2, V& a3, const Guard& guard, int num_srcs,
                              const Sink& sink) const {
    if constexpr (kOp == Op::kAvg) {
      using Fallback = typename C::Fallback;
      if (HWY_UNLIKELY(!C::holds(guard))) return false;
      C::leave(a0, a1, a2, a3);
      average(a0, a1, a2, a3);
      if constexpr (std::is_floating_point_v<A>) settle_nan(a0, a1, a2, a3);
      Fallback::store(a0, a1, a2, a3, num_srcs, sink);
      return true;
    }
    if (HWY_UNLIKELY(!C::holds(guard, a0, a1, a2, a3))) return false;
    if constexpr (std::is_floating_point_v<A> && C::kMayBeNan) settle_nan(a0, a1, a2, a3);
    C::store(a0, a1, a2, a3, num_srcs, sink);
    return true;
  }

  template <bool kMultiplier>
  static HWY_INLINE V combine_by(V a, V b) {
#if HWY_TARGET == HWY_AVX3
    if constexpr (kMultiplier && (kOp == Op::kSum || kOp == Op::kAvg)) {
      auto one = hn::Set(D(), 1.0f);
      asm("" : "+v"(one.raw));  // lest the compiler makes it an addition again
      if constexpr (sizeof(V) == 64) return V{_mm512_fmadd_ps(b.raw, one.raw, a.raw)};
      if constexpr (sizeof(V) == 32) return V{_mm256_fmadd_ps(b.raw, one.raw, a.raw)};
    }
#endif
    return combine<kOp>(D(), a, b);
  }

  // Which of two NaNs an addition returns depends on how the compiler ordered its operands.
  static HWY_INLINE void settle_nan(V& a0, V& a1, V& a2, V& a3) {
    const auto nan = hn::Set(D(), std::numeric_limits<A>::quiet_NaN());
    a0 = hn::IfThenElse(hn::IsNaN(a0), nan, a0);
    a1 = hn::IfThenElse(hn::IsNaN(a1), nan, a1);
    a2 = hn::IfThenElse(hn::IsNaN(a2), nan, a2);
    a3 = hn::IfThenElse(hn::IsNaN(a3), nan, a3);
  }
  HWY_INLINE void scale(int s, V& a0, V& a1, V& a2, V& a3) const {
    if constexpr (kOp == Op::kPremulSum) {
      const D d;
      const auto factor = hn::Set(d, scales_[s]);
      a0 = multiply(d, a0, factor);
      a1 = multiply(d, a1, factor);
      a2 = multiply(d, a2, factor);
      a3 = multiply(d, a3, factor);
    }
  }
  HWY_INLINE void average(V& a0, V& a1, V& a2, V& a3) const {
    if constexpr (kOp == Op::kAvg) {
      const D d;
      if constexpr (std::is_integral_v<A>) {
        alignas(kLine) A values[kMaxStepBytes / sizeof(A)];
        const size_t n = hn::Lanes(d);
        hn::Store(a0, d, values);
        hn::Store(a1, d, values + n);
        hn::Store(a2, d, values + 2 * n);
        hn::Store(a3, d, values + 3 * n);
        divide_integers(values, 4 * n, args_.divisor);
        a0 = hn::Load(d, values);
        a1 = hn::Load(d, values + n);
        a2 = hn::Load(d, values + 2 * n);
        a3 = hn::Load(d, values + 3 * n);
      } else {
        const auto divisor = hn::Set(d, static_cast<A>(args_.divisor));
        a0 = hn::Div(a0, divisor);
        a1 = hn::Div(a1, divisor);
        a2 = hn::Div(a2, divisor);
        a3 = hn::Div(a3, divisor);
      }
    }
  }

  template <bool kFar, typename DV, typename Vector>
  static HWY_INLINE void put(DV d, Vector vector, T* to, bool streaming) {
    auto* lanes = reinterpret_cast<hn::TFromD<DV>*>(to);
    if (kFar && streaming && reinterpret_cast<uintptr_t>(to) % (hn::Lanes(d) * sizeof(T)) == 0) {
      hn::Stream(vector, d, lanes);
    } else {
      hn::StoreU(vector, d, lanes);
    }
  }

  // Tensors of a few bytes are common, and a call of memcpy would cost more than the adding.
  static HWY_INLINE void copy_few(void* to, const void* from, size_t bytes) {
    auto* out = static_cast<char*>(to);
    const auto* in = static_cast<const char*>(from);
    if (bytes >= 16) {
      std::memcpy(out, in, bytes);
      return;
    }
    for (size_t size : {8, 4, 2, 1}) {
      if ((bytes & size) == 0) continue;
      std::memcpy(out, in, size);
      out += size;
      in += size;
    }
  }

  static constexpr size_t kLine = 64;
  // Measured: docs/kernels.md.
  static constexpr size_t kFetchAheadBytes = std::is_arithmetic_v<T> ? 256 : 512;
  // Elements past the end can be left out of a load and a store.
  static constexpr bool kMasksAreFree = !HWY_MEM_OPS_MIGHT_FAULT && std::is_arithmetic_v<T>;
  // Whether steps of more than two sources fetch ahead, too. Those of plain types ask memory for
  // enough by themselves, and those of bf16 from some sources on.
  static HWY_INLINE bool fetches_many(int num_srcs) {
    if constexpr (std::is_arithmetic_v<T>) return false;
    if constexpr (std::is_same_v<T, BFloat16>) return num_srcs <= kMostFetchedBFloat16;
    return true;
  }
  static constexpr int kMostFetchedBFloat16 = 6;
  static constexpr size_t kCachedBytes = size_t{1} << 20;

  const ReduceArgs& args_;
  const A* scales_ = nullptr;  // Op::kPremulSum
};

template <typename T, Op kOp>
void reduce(const ReduceArgs& args) {
  Reduction<typename Arithmetic<kOp, T>::type, kOp>(args).run();
}

template <typename T>
constexpr void fill_row(ReduceKernel (&row)[kNumOps]) {
  // One function for both signs where the bits agree.
  row[static_cast<int>(Op::kSum)] = reduce<typename Arithmetic<Op::kSum, T>::type, Op::kSum>;
  row[static_cast<int>(Op::kProd)] = reduce<typename Arithmetic<Op::kProd, T>::type, Op::kProd>;
  row[static_cast<int>(Op::kMin)] = reduce<T, Op::kMin>;
  row[static_cast<int>(Op::kMax)] = reduce<T, Op::kMax>;
  row[static_cast<int>(Op::kAvg)] = reduce<T, Op::kAvg>;
  row[static_cast<int>(Op::kPremulSum)] =
      reduce<typename Arithmetic<Op::kPremulSum, T>::type, Op::kPremulSum>;
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
