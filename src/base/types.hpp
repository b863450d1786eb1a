// Element types and reductions, with the values of the public header, where they have one; capi/
// asserts that.
#pragma once

#include <cstddef>
#include <cstdint>

namespace hfr {

enum class DType : uint8_t {
  kInt8 = 0,
  kUint8 = 1,
  kInt16 = 2,
  kUint16 = 3,
  kInt32 = 4,
  kUint32 = 5,
  kInt64 = 6,
  kUint64 = 7,
  kFloat16 = 8,
  kBFloat16 = 9,
  kFloat32 = 10,
  kFloat64 = 11,
  kFloat8E4M3 = 12,
  kFloat8E5M2 = 13,
};
constexpr int kNumDTypes = 14;

enum class Op : uint8_t {
  kSum = 0,
  kProd = 1,
  kMin = 2,
  kMax = 3,
  kAvg = 4,
  kPremulSum = 5,  // each input times a scalar of its own: hfr_op_create_premul_sum
};
constexpr int kNumOps = 6;

// Not in the function: every call would lay it out on its stack.
inline constexpr size_t kDTypeSizes[kNumDTypes] = {1, 1, 2, 2, 4, 4, 8, 8, 2, 2, 4, 8, 1, 1};
constexpr size_t dtype_size(DType dtype) { return kDTypeSizes[static_cast<int>(dtype)]; }

// What sums of the type are made in, and a pre-multiplied sum's scalars given in: FP32 for floats
// up to 32 bits, else the type itself. Scalars travel as their bits, in the low bytes.
constexpr bool accumulates_in_float(DType dtype) {
  return dtype >= DType::kFloat16 && dtype != DType::kFloat64;
}
constexpr size_t accumulator_size(DType dtype) {
  return accumulates_in_float(dtype) ? 4 : dtype_size(dtype);
}
constexpr uint64_t accumulator_one(DType dtype) {
  if (dtype == DType::kFloat64) return 0x3ff0000000000000;
  return accumulates_in_float(dtype) ? 0x3f800000 : 1;
}

// "float32", "bfloat16", "sum": nccl-tests' spelling where it has one is the tools' business.
const char* dtype_name(DType dtype);
const char* op_name(Op op);

}  // namespace hfr
