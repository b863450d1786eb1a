// Element types and reductions, with the values of the public header; capi/ asserts that.
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

enum class Op : uint8_t { kSum = 0, kProd = 1, kMin = 2, kMax = 3, kAvg = 4 };
constexpr int kNumOps = 5;

constexpr size_t dtype_size(DType dtype) {
  constexpr size_t kSizes[kNumDTypes] = {1, 1, 2, 2, 4, 4, 8, 8, 2, 2, 4, 8, 1, 1};
  return kSizes[static_cast<int>(dtype)];
}

// "float32", "bfloat16", "sum": nccl-tests' spelling where it has one is the tools' business.
const char* dtype_name(DType dtype);
const char* op_name(Op op);

}  // namespace hfr
