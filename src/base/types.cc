#include "base/types.hpp"

namespace hfr {

const char* dtype_name(DType dtype) {
  static constexpr const char* kNames[kNumDTypes] = {
      "int8",   "uint8",   "int16",    "uint16",  "int32",   "uint32",      "int64",
      "uint64", "float16", "bfloat16", "float32", "float64", "float8_e4m3", "float8_e5m2"};
  return kNames[static_cast<int>(dtype)];
}

const char* op_name(Op op) {
  static constexpr const char* kNames[kNumOps] = {"sum", "prod", "min", "max", "avg", "premul_sum"};
  return kNames[static_cast<int>(op)];
}

}  // namespace hfr
