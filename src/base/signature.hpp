// Signature: what an operation is, in 64 bits, so that every message can carry it and a mismatch
// can name both sides.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "base/text.hpp"
#include "base/types.hpp"

namespace hfr {

// bits 0..47 count, 48..54 dtype, 55 whether its chunks begin at the first lane
// (engine/operation.hpp), 56..62 op, 63: set, so that no signature is 0.
constexpr uint64_t make_signature(size_t count, DType dtype, Op op, bool from_first_lane = false) {
  return (uint64_t{1} << 63) | (uint64_t{static_cast<uint8_t>(op)} << 56) |
         (uint64_t{from_first_lane} << 55) | (uint64_t{static_cast<uint8_t>(dtype)} << 48) |
         (count & ((uint64_t{1} << 48) - 1));
}
constexpr size_t kMaxCount = (uint64_t{1} << 48) - 1;

// "all_reduce of 1024 float32, sum"
inline std::string signature_text(uint64_t signature) {
  auto dtype = static_cast<uint8_t>((signature >> 48) & 0x7f);
  auto op = static_cast<uint8_t>((signature >> 56) & 0x7f);
  if (dtype >= kNumDTypes || op >= kNumOps) return "something that is no operation";
  return cat("all_reduce of ", signature & kMaxCount, " ", dtype_name(static_cast<DType>(dtype)),
             ", ", op_name(static_cast<Op>(op)),
             (signature >> 55 & 1) != 0 ? ", in a graph or after the first one" : "");
}

}  // namespace hfr
