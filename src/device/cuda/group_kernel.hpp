// GroupKernel: the kernel that adds in a group of GPUs (kernels/cuda), loaded into one context for
// one member.
#pragma once

#include <array>
#include <memory>

#include "base/types.hpp"
#include "device/cuda/context.hpp"
#include "ports/device.hpp"

namespace hfr {

class GroupKernel {
 public:
  struct Seat {
    int num_members = 2;
    int idx = 0;            // which one this is
    size_t slot_bytes = 0;  // between inboxes
    int max_blocks = 1;
  };
  // Whether this build has it.
  static bool is_built();
  // Launches it once for every type: a first launch waits for all streams (docs/cuda.md).
  static Result<std::unique_ptr<GroupKernel>> load(std::shared_ptr<const CudaContext> context,
                                                   const Seat& seat);
  ~GroupKernel();
  GroupKernel(const GroupKernel&) = delete;
  GroupKernel& operator=(const GroupKernel&) = delete;

  // A CopyDirection::kAdd. The context is current.
  CUresult add(const CopyDescriptor& what, CUstream stream) const;

 private:
  GroupKernel(std::shared_ptr<const CudaContext> context, const Seat& seat)
      : context_(std::move(context)), seat_(seat) {}

  const std::shared_ptr<const CudaContext> context_;
  const Seat seat_;
  CUmodule module_ = nullptr;
  std::array<CUfunction, kNumDTypes> functions_{};
};

}  // namespace hfr
