// A CUDA driver that is made up: contexts, of which any thread may make one current, and no GPU.
#pragma once

#include <cstdint>
#include <cstring>
#include <vector>

#include "device/cuda/driver.hpp"

namespace hfr {

// Context n is of device (n - 1) mod 2.
inline CUcontext made_up_context(uintptr_t n) { return reinterpret_cast<CUcontext>(n); }

inline std::vector<CUcontext>& current_contexts() {
  static std::vector<CUcontext> stack;
  return stack;
}

inline Driver made_up_driver() {
  Driver driver;
  driver.cuGetErrorName = [](CUresult, const char** name) {
    *name = "CUDA_ERROR_INVALID_HANDLE";
    return CUDA_SUCCESS;
  };
  driver.cuGetErrorString = [](CUresult, const char** text) {
    *text = "invalid resource handle";
    return CUDA_SUCCESS;
  };
  driver.cuThreadExchangeStreamCaptureMode = [](CUstreamCaptureMode*) { return CUDA_SUCCESS; };
  driver.cuCtxPushCurrent = [](CUcontext pushed) {
    current_contexts().push_back(pushed);
    return CUDA_SUCCESS;
  };
  driver.cuCtxPopCurrent = [](CUcontext* popped) {
    *popped = current_contexts().back();
    current_contexts().pop_back();
    return CUDA_SUCCESS;
  };
  driver.cuCtxGetDevice = [](CUdevice* device) {
    *device = static_cast<int>((reinterpret_cast<uintptr_t>(current_contexts().back()) - 1) % 2);
    return CUDA_SUCCESS;
  };
  driver.cuDeviceGetPCIBusId = [](char* id, int size, CUdevice) {
    std::strncpy(id, "0000:5e:00.0", static_cast<size_t>(size));
    return CUDA_SUCCESS;
  };
  return driver;
}

}  // namespace hfr
