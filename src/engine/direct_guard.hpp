// DirectGuard: raised while a thread works on other ranks' buffers, so that a rank which fails can
// wait until nobody does before it gives its buffers back to the caller (Executor::leave_buffers).
#pragma once

#include "engine/context.hpp"

namespace hfr {

class DirectGuard {
 public:
  DirectGuard(const EngineContext& context, bool needed)
      : busy_(needed && context.shape.num_local() > 1
                  ? &context.staging.busy(context.shape.local_rank)
                  : nullptr) {
    if (busy_ == nullptr) return;
    busy_->value.store(1, std::memory_order_seq_cst);
    allowed_ = context.staging.failure().state.load(std::memory_order_seq_cst) == 0;
  }
  ~DirectGuard() {
    if (busy_ != nullptr) busy_->value.store(0, std::memory_order_seq_cst);
  }
  DirectGuard(const DirectGuard&) = delete;
  DirectGuard& operator=(const DirectGuard&) = delete;

  // False once the node has failed: leave the buffers alone.
  bool allowed() const { return allowed_; }

 private:
  Counter* busy_;
  bool allowed_ = true;
};

}  // namespace hfr
