// PremulOps: the pre-multiplied sums that a communicator's user has made, by their handles. Any
// thread.
#pragma once

#include <array>
#include <cstdint>
#include <mutex>
#include <optional>

#include "base/types.hpp"

namespace hfr {

struct PremulOp {
  DType dtype = DType::kFloat32;
  uint64_t scale = 0;  // base/types.hpp
};

class PremulOps {
 public:
  static constexpr int kFirstHandle = 256;  // above every hfr_op_t that has a name
  static constexpr int kMaxOps = 64;

  // -1: there are kMaxOps already.
  int create(const PremulOp& op) {
    const std::lock_guard lock(mutex_);
    for (int i = 0; i < kMaxOps; ++i) {
      auto& slot = ops_[static_cast<size_t>(i)];
      if (slot) continue;
      slot = op;
      return kFirstHandle + i;
    }
    return -1;
  }
  std::optional<PremulOp> find(int handle) {
    const std::lock_guard lock(mutex_);
    return is_handle(handle) ? slot(handle) : std::nullopt;
  }
  // False: there is none.
  bool destroy(int handle) {
    const std::lock_guard lock(mutex_);
    if (!is_handle(handle) || !slot(handle)) return false;
    slot(handle).reset();
    return true;
  }

 private:
  static bool is_handle(int handle) {
    return handle >= kFirstHandle && handle < kFirstHandle + kMaxOps;
  }
  std::optional<PremulOp>& slot(int handle) {
    return ops_[static_cast<size_t>(handle - kFirstHandle)];
  }

  std::mutex mutex_;
  std::array<std::optional<PremulOp>, kMaxOps> ops_;
};

}  // namespace hfr
