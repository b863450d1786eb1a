// What a build without the CUDA backend answers.
#include "device/cuda/cuda_device.hpp"
#include "device/cuda/gpu_memory.hpp"

namespace hfr {

namespace {

Status no_backend() {
  return Status(Code::kUnsupported,
                "this build of HFReduce has no CUDA backend; build it where cuda.h is "
                "(HFREDUCE_CUDA=ON), or use host memory (HFREDUCE_DEVICE=host)");
}

}  // namespace

Result<std::string> cuda_identity(void*, int) { return no_backend(); }

Result<CudaDeviceInfo> open_cuda_device(const CudaOptions&) { return no_backend(); }

void* current_cuda_context() { return nullptr; }

bool GpuMemory::ask(const void*) { return false; }

}  // namespace hfr
