#include "device/cuda/driver.hpp"

#include <dlfcn.h>

#include "base/text.hpp"

namespace hfr {

std::string Driver::text(const std::string& call, CUresult result) const {
  const char* name = nullptr;
  const char* meaning = nullptr;
  if (cuGetErrorName(result, &name) != CUDA_SUCCESS || name == nullptr) name = "unknown error";
  if (cuGetErrorString(result, &meaning) != CUDA_SUCCESS || meaning == nullptr) meaning = "?";
  return cat(call, ": ", name, " (", meaning, ")");
}

Status Driver::status(const std::string& call, CUresult result) const {
  if (result == CUDA_SUCCESS) return Status();
  const Code code = result == CUDA_ERROR_OUT_OF_MEMORY ? Code::kOutOfMemory : Code::kSystemError;
  return Status(code, text(call, result));
}

Result<Driver> load_driver(const char* library) {
  // Never closed: the driver does not survive that.
  void* handle = dlopen(library, RTLD_NOW | RTLD_LOCAL);
  if (handle == nullptr) {
    return Status(Code::kUnsupported,
                  cat("there is no CUDA driver on this machine (", dlerror(),
                      "); install NVIDIA's driver, or use host memory (HFREDUCE_DEVICE=host)"));
  }
  Driver driver;
  const char* missing = nullptr;
#define HFR_NAME(name) #name
#define HFR_LOAD(name)                                                                  \
  driver.name = reinterpret_cast<decltype(driver.name)>(dlsym(handle, HFR_NAME(name))); \
  if (driver.name == nullptr && missing == nullptr) missing = HFR_NAME(name);
  HFR_CUDA_FUNCTIONS(HFR_LOAD)
#if CUDA_VERSION >= 13000
  driver.cuMemcpyBatchAsync =
      reinterpret_cast<decltype(driver.cuMemcpyBatchAsync)>(dlsym(handle, "cuMemcpyBatchAsync_v2"));
#endif
#undef HFR_LOAD
#undef HFR_NAME
  if (missing != nullptr) {
    return Status(Code::kUnsupported, cat("the CUDA driver (", library, ") has no ", missing,
                                          "; it is older than CUDA 12: update NVIDIA's driver"));
  }
  if (CUresult result = driver.cuInit(0); result != CUDA_SUCCESS) {
    return Status(Code::kUnsupported, cat("the CUDA driver is there but finds no usable GPU: ",
                                          driver.text("cuInit", result)));
  }
  return driver;
}

const Result<Driver>& cuda_driver() {
  static const Result<Driver> kDriver = load_driver("libcuda.so.1");
  return kDriver;
}

}  // namespace hfr
