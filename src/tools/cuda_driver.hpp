// The CUDA driver API as the command uses it, loaded at run time as any program does that runs with
// and without a GPU. Failures are thrown as std::runtime_error with a sentence.
#pragma once

#include <cuda.h>

namespace hfr::tools {

#define HFR_TOOLS_CUDA_FUNCTIONS(X) \
  X(cuInit)                         \
  X(cuGetErrorName)                 \
  X(cuDeviceGet)                    \
  X(cuDeviceGetCount)               \
  X(cuDeviceGetName)                \
  X(cuDeviceGetPCIBusId)            \
  X(cuDevicePrimaryCtxRetain)       \
  X(cuDevicePrimaryCtxRelease)      \
  X(cuCtxSetCurrent)                \
  X(cuMemAlloc)                     \
  X(cuMemFree)                      \
  X(cuMemHostAlloc)                 \
  X(cuMemFreeHost)                  \
  X(cuMemcpyHtoDAsync)              \
  X(cuMemcpyDtoHAsync)              \
  X(cuStreamCreate)                 \
  X(cuStreamDestroy)                \
  X(cuStreamSynchronize)            \
  X(cuStreamBeginCapture)           \
  X(cuStreamEndCapture)             \
  X(cuGraphInstantiateWithFlags)    \
  X(cuGraphLaunch)                  \
  X(cuGraphDestroy)                 \
  X(cuGraphExecDestroy)

// The driver's functions, under the versions that cuda.h names.
struct CudaDriver {
#define HFR_DECLARE(name) decltype(&::name) name = nullptr;
  HFR_TOOLS_CUDA_FUNCTIONS(HFR_DECLARE)
#undef HFR_DECLARE

  // The process' only one, loaded and initialised when first asked for.
  static const CudaDriver& get();
  void check(CUresult result, const char* call) const;
};

}  // namespace hfr::tools
