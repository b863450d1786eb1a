// PinnedRange: host memory registered with the driver, so that copy engines reach it at full speed.
//
// A range is registered once a process; the process' ranks share the registration, and it must be
// given up before the memory is unmapped.
#pragma once

#include <cstddef>
#include <memory>

#include "device/cuda/context.hpp"

namespace hfr {

class PinnedRange {
 public:
  static Result<std::shared_ptr<PinnedRange>> make(std::shared_ptr<const CudaContext> context,
                                                   std::byte* data, size_t bytes);
  ~PinnedRange();
  PinnedRange(const PinnedRange&) = delete;
  PinnedRange& operator=(const PinnedRange&) = delete;

  // What `ptr` inside the range is called by the device of `context`.
  static Result<CUdeviceptr> device_address(const CudaContext& context, void* ptr);

 private:
  PinnedRange(std::shared_ptr<const CudaContext> context, std::byte* data)
      : context_(std::move(context)), data_(data) {}

  // Kept alive: without it there is nothing to unregister from.
  std::shared_ptr<const CudaContext> context_;
  std::byte* data_;
};

}  // namespace hfr
