// Driver: the CUDA driver API, loaded at run time, so that one binary runs with and without a GPU.
//
// cuda.h renames functions to their newest version (cuMemAlloc is cuMemAlloc_v2); the table's
// members are renamed along, so `driver.cuMemAlloc(...)` calls the version that was compiled
// against.
#pragma once

#include <cuda.h>

#include <string>

#include "base/status.hpp"

namespace hfr {

#define HFR_CUDA_FUNCTIONS(X)          \
  X(cuInit)                            \
  X(cuGetErrorName)                    \
  X(cuGetErrorString)                  \
  X(cuDeviceGet)                       \
  X(cuDeviceGetCount)                  \
  X(cuDeviceGetName)                   \
  X(cuDeviceGetPCIBusId)               \
  X(cuDeviceGetAttribute)              \
  X(cuDeviceGetP2PAttribute)           \
  X(cuDevicePrimaryCtxRetain)          \
  X(cuDevicePrimaryCtxRelease)         \
  X(cuCtxGetCurrent)                   \
  X(cuCtxGetDevice)                    \
  X(cuCtxPushCurrent)                  \
  X(cuCtxPopCurrent)                   \
  X(cuCtxEnablePeerAccess)             \
  X(cuMemAlloc)                        \
  X(cuMemFree)                         \
  X(cuMemsetD8Async)                   \
  X(cuMemHostAlloc)                    \
  X(cuMemFreeHost)                     \
  X(cuMemHostRegister)                 \
  X(cuMemHostUnregister)               \
  X(cuMemHostGetDevicePointer)         \
  X(cuMemcpyDtoHAsync)                 \
  X(cuMemcpyHtoDAsync)                 \
  X(cuMemcpyDtoDAsync)                 \
  X(cuIpcGetMemHandle)                 \
  X(cuIpcOpenMemHandle)                \
  X(cuIpcCloseMemHandle)               \
  X(cuModuleLoadData)                  \
  X(cuModuleUnload)                    \
  X(cuModuleGetFunction)               \
  X(cuLaunchKernel)                    \
  X(cuPointerGetAttributes)            \
  X(cuStreamCreateWithPriority)        \
  X(cuStreamDestroy)                   \
  X(cuStreamGetCtx)                    \
  X(cuStreamIsCapturing)               \
  X(cuThreadExchangeStreamCaptureMode) \
  X(cuStreamGetCaptureInfo)            \
  X(cuStreamUpdateCaptureDependencies) \
  X(cuGraphCreate)                     \
  X(cuGraphDestroy)                    \
  X(cuGraphInstantiateWithFlags)       \
  X(cuGraphExecDestroy)                \
  X(cuGraphLaunch)                     \
  X(cuGraphAddMemcpyNode)              \
  X(cuGraphAddBatchMemOpNode)          \
  X(cuGraphDestroyNode)                \
  X(cuUserObjectCreate)                \
  X(cuUserObjectRelease)               \
  X(cuGraphRetainUserObject)           \
  X(cuStreamQuery)                     \
  X(cuStreamSynchronize)               \
  X(cuStreamWaitEvent)                 \
  X(cuStreamWaitValue64)               \
  X(cuStreamWriteValue64)              \
  X(cuStreamBatchMemOp)                \
  X(cuEventCreate)                     \
  X(cuEventDestroy)                    \
  X(cuEventRecord)                     \
  X(cuEventQuery)

struct Driver {
#define HFR_DECLARE(name) decltype(&::name) name = nullptr;
  HFR_CUDA_FUNCTIONS(HFR_DECLARE)
#undef HFR_DECLARE
#if CUDA_VERSION >= 13000
  decltype(&::cuMemcpyBatchAsync) cuMemcpyBatchAsync = nullptr;  // null: a driver of CUDA 12
#endif

  // "cuMemAlloc: CUDA_ERROR_OUT_OF_MEMORY (out of memory)".
  std::string text(const std::string& call, CUresult result) const;
  Status status(const std::string& call, CUresult result) const;
};

// Loads `library` and initialises it. Fails with a sentence when there is no driver, an old one, or
// no GPU.
Result<Driver> load_driver(const char* library);

// The process' driver, loaded when first asked for; or why there is none.
const Result<Driver>& cuda_driver();

}  // namespace hfr
