// One body for all types. A thread takes 16 bytes of every input at a time: all inputs are loaded
// before any is added, so that their latencies overlap, and the sum is stored last, as it replaces
// an input. What is less than 16 bytes at the end goes element by element.
#include <cuda_fp16.h>
#include <cuda_fp8.h>

#include <limits>
#include <type_traits>

#include "base/types.hpp"
#include "cpu/small_float.hpp"
#include "cuda/group_add.hpp"

namespace hfr {
namespace {

// Exact, as load_float is, by the processor's own conversions: adding small floats is bound by
// arithmetic.
__device__ float widen(Float16 value) { return __half2float(__ushort_as_half(value.bits)); }
__device__ float widen(BFloat16 value) { return load_float(value); }
__device__ float widen(Float8E4M3 value) {
  return __half2float(__nv_cvt_fp8_to_halfraw(value.bits, __NV_E4M3));
}
__device__ float widen(Float8E5M2 value) {
  return __half2float(__nv_cvt_fp8_to_halfraw(value.bits, __NV_E5M2));
}

// What a type is added in, and the way there and back. Signs share sums and products of integers,
// which wrap.
template <typename T, Op kOp>
struct Element {
  static constexpr bool kAdds = kOp == Op::kSum || kOp == Op::kAvg;
  static constexpr bool kWraps = std::is_integral_v<T> && (kAdds || kOp == Op::kProd);
  static constexpr bool kPlain = std::is_arithmetic_v<T>;
  using Signless = std::make_unsigned<std::conditional_t<kWraps, T, int>>;
  using A = std::conditional_t<
      !kPlain, float, typename std::conditional_t<kWraps, Signless, std::type_identity<T>>::type>;

  static __device__ A widen(T value) {
    if constexpr (kPlain) {
      return static_cast<A>(value);
    } else {
      return hfr::widen(value);
    }
  }
  static __device__ T narrow(A value, uint32_t divisor) {
    if constexpr (kOp == Op::kAvg) {
      if constexpr (kWraps) return static_cast<T>(static_cast<T>(value) / static_cast<T>(divisor));
      value /= static_cast<A>(divisor);
    }
    if constexpr (std::is_floating_point_v<A>) {
      if (value != value) value = std::numeric_limits<A>::quiet_NaN();
    }
    if constexpr (kPlain) {
      return static_cast<T>(value);
    } else {
      return store_float<T>(value);
    }
  }
  static __device__ A combine(A a, A b) {
    if constexpr (kAdds) {
      return static_cast<A>(a + b);
    } else if constexpr (kOp == Op::kProd) {
      if constexpr (kWraps) return static_cast<A>(uint64_t{a} * uint64_t{b});
      return a * b;
    } else {
      // As on the CPU: a NaN in either stays.
      if (b != b) return b;
      return (kOp == Op::kMin ? b < a : a < b) ? b : a;
    }
  }
};

struct alignas(kGroupAddVector) Vector {
  uint32_t words[kGroupAddVector / sizeof(uint32_t)];
};

// An input that is aligned to no more than W.
template <typename W>
__device__ Vector load_by(const unsigned char* from) {
  constexpr int kParts = static_cast<int>(kGroupAddVector / sizeof(W));
  W parts[kParts];
#pragma unroll
  for (int i = 0; i < kParts; ++i) parts[i] = reinterpret_cast<const W*>(from)[i];
  Vector vector;
  memcpy(&vector, parts, sizeof(vector));
  return vector;
}

template <typename T>
__device__ Vector load_own(const unsigned char* from, unsigned alignment) {
  if (alignment == kGroupAddVector) return *reinterpret_cast<const Vector*>(from);
  if (alignment >= 8) return load_by<uint64_t>(from);
  if (sizeof(T) <= 4 && alignment >= 4) return load_by<uint32_t>(from);
  if (sizeof(T) <= 2 && alignment >= 2) return load_by<uint16_t>(from);
  return load_by<T>(from);
}

template <typename T, Op kOp>
__device__ void add(const GroupAddArgs& args) {
  using E = Element<T, kOp>;
  constexpr int kPerVector = static_cast<int>(kGroupAddVector / sizeof(T));
  const auto* own = static_cast<const unsigned char*>(args.own);
  auto* boxes = static_cast<unsigned char*>(args.boxes);
  const auto place = static_cast<unsigned>(reinterpret_cast<uintptr_t>(own) % kGroupAddVector);
  const unsigned alignment = place == 0 ? kGroupAddVector : place & (~place + 1);
  const uint64_t num_vectors = args.count / kPerVector;
  const uint64_t first = uint64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  const uint64_t step = uint64_t{gridDim.x} * blockDim.x;

  // Input s, unless it is the own one, is box s or the one before.
  auto box_of = [&](uint32_t s) { return boxes + (s < args.own_idx ? s : s - 1) * args.stride; };

  for (uint64_t v = first; v < num_vectors; v += step) {
    const uint64_t at = v * kGroupAddVector;
    Vector inputs[kMaxGroup];
#pragma unroll
    for (uint32_t s = 0; s < kMaxGroup; ++s) {
      if (s >= args.num_inputs) break;
      inputs[s] = s == args.own_idx ? load_own<T>(own + at, alignment)
                                    : *reinterpret_cast<const Vector*>(box_of(s) + at);
    }
    T elements[kPerVector];
    memcpy(elements, &inputs[0], sizeof(Vector));
    typename E::A sums[kPerVector];
#pragma unroll
    for (int i = 0; i < kPerVector; ++i) sums[i] = E::widen(elements[i]);
#pragma unroll
    for (uint32_t s = 1; s < kMaxGroup; ++s) {
      if (s >= args.num_inputs) break;
      memcpy(elements, &inputs[s], sizeof(Vector));
#pragma unroll
      for (int i = 0; i < kPerVector; ++i) sums[i] = E::combine(sums[i], E::widen(elements[i]));
    }
#pragma unroll
    for (int i = 0; i < kPerVector; ++i) elements[i] = E::narrow(sums[i], args.divisor);
    Vector sum;
    memcpy(&sum, elements, sizeof(sum));
    *reinterpret_cast<Vector*>(boxes + at) = sum;
  }

  const uint64_t i = num_vectors * kPerVector + first;
  if (i >= args.count) return;
  auto input = [&](uint32_t s) {
    const unsigned char* from = s == args.own_idx ? own : box_of(s);
    return E::widen(reinterpret_cast<const T*>(from)[i]);
  };
  auto sum = input(0);
  for (uint32_t s = 1; s < args.num_inputs; ++s) sum = E::combine(sum, input(s));
  reinterpret_cast<T*>(boxes)[i] = E::narrow(sum, args.divisor);
}

template <typename T>
__device__ void add_by_op(const GroupAddArgs& args) {
  switch (static_cast<Op>(args.op)) {
    case Op::kSum:
      return add<T, Op::kSum>(args);
    case Op::kAvg:
      return add<T, Op::kAvg>(args);
    case Op::kProd:
      return add<T, Op::kProd>(args);
    case Op::kMin:
      return add<T, Op::kMin>(args);
    case Op::kMax:
      return add<T, Op::kMax>(args);
  }
}

}  // namespace
}  // namespace hfr

#define HFR_GROUP_ADD(name, T)                                               \
  extern "C" __global__ void __launch_bounds__(hfr::kGroupAddThreads)        \
      hfr_group_add_##name(const __grid_constant__ hfr::GroupAddArgs args) { \
    hfr::add_by_op<T>(args);                                                 \
  }
HFR_GROUP_ADD(int8, int8_t)
HFR_GROUP_ADD(uint8, uint8_t)
HFR_GROUP_ADD(int16, int16_t)
HFR_GROUP_ADD(uint16, uint16_t)
HFR_GROUP_ADD(int32, int32_t)
HFR_GROUP_ADD(uint32, uint32_t)
HFR_GROUP_ADD(int64, int64_t)
HFR_GROUP_ADD(uint64, uint64_t)
HFR_GROUP_ADD(float16, hfr::Float16)
HFR_GROUP_ADD(bfloat16, hfr::BFloat16)
HFR_GROUP_ADD(float32, float)
HFR_GROUP_ADD(float64, double)
HFR_GROUP_ADD(float8_e4m3, hfr::Float8E4M3)
HFR_GROUP_ADD(float8_e5m2, hfr::Float8E5M2)
