// GpuGroup: a rank's seat in a group of GPUs (docs/cuda.md): its boxes, its way to the others', and
// the kernel that adds.
#pragma once

#include <memory>
#include <vector>

#include "device/cuda/boxes.hpp"
#include "device/cuda/cuda_device.hpp"
#include "device/cuda/group_kernel.hpp"

namespace hfr {

class GpuGroup {
 public:
  explicit GpuGroup(std::shared_ptr<const CudaContext> context) : context_(std::move(context)) {}

  // As CudaGroupSide.
  Result<std::vector<std::byte>> offer_boxes(size_t bytes, std::shared_ptr<void>& kept);
  Result<std::vector<std::byte*>> join(const CudaGroupSide::Seat& seat, size_t& unreached);

  // Null until joined.
  const GroupKernel* kernel() const { return kernel_.get(); }
  // After a failure: another process' GPU may still be at the boxes, and nobody says when it no
  // longer is, so that they are left to the process' end.
  void leave_boxes();

 private:
  const std::shared_ptr<const CudaContext> context_;
  std::shared_ptr<Boxes> boxes_;
  std::vector<std::unique_ptr<PeerBoxes>> peers_;
  std::unique_ptr<GroupKernel> kernel_;
  bool crosses_processes_ = false;
};

}  // namespace hfr
