#include "device/cuda/pinned.hpp"

#include "base/text.hpp"

namespace hfr {

Result<std::shared_ptr<PinnedRange>> PinnedRange::make(std::shared_ptr<const CudaContext> context,
                                                       std::byte* data, size_t bytes) {
  const Driver& driver = context->driver();
  ContextScope scope(*context);
  const CUresult result = driver.cuMemHostRegister(
      data, bytes, CU_MEMHOSTREGISTER_PORTABLE | CU_MEMHOSTREGISTER_DEVICEMAP);
  if (result != CUDA_SUCCESS) {
    return Status(Code::kOutOfMemory, cat("pinning ", bytes_text(bytes),
                                          " of staging: ", driver.text("cuMemHostRegister", result),
                                          "; lower HFREDUCE_CHUNK_BYTES or HFREDUCE_WINDOW"));
  }
  return std::shared_ptr<PinnedRange>(new PinnedRange(std::move(context), data));
}

PinnedRange::~PinnedRange() {
  ContextScope scope(*context_);
  context_->driver().cuMemHostUnregister(data_);
}

Result<CUdeviceptr> PinnedRange::device_address(const CudaContext& context, void* ptr) {
  ContextScope scope(context);
  CUdeviceptr address = 0;
  HFR_RETURN_IF_ERROR(context.driver().status(
      "cuMemHostGetDevicePointer", context.driver().cuMemHostGetDevicePointer(&address, ptr, 0)));
  return address;
}

}  // namespace hfr
