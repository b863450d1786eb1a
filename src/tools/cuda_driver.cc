#include "tools/cuda_driver.hpp"

#include <dlfcn.h>

#include <stdexcept>

#include "base/text.hpp"

namespace hfr::tools {
namespace {

CudaDriver load() {
  void* library = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr)
    throw std::runtime_error(cat("there is no CUDA driver (", dlerror(), ")"));
  CudaDriver driver;
#define HFR_NAME(name) #name
#define HFR_LOAD(name)                                                                   \
  driver.name = reinterpret_cast<decltype(driver.name)>(dlsym(library, HFR_NAME(name))); \
  if (driver.name == nullptr)                                                            \
    throw std::runtime_error("the CUDA driver has no " HFR_NAME(name) "; update NVIDIA's driver");
  HFR_TOOLS_CUDA_FUNCTIONS(HFR_LOAD)
#undef HFR_LOAD
#undef HFR_NAME
  driver.check(driver.cuInit(0), "cuInit");
  return driver;
}

}  // namespace

const CudaDriver& CudaDriver::get() {
  static const CudaDriver kDriver = load();
  return kDriver;
}

void CudaDriver::check(CUresult result, const char* call) const {
  if (result == CUDA_SUCCESS) return;
  const char* name = nullptr;
  if (cuGetErrorName(result, &name) != CUDA_SUCCESS || name == nullptr) name = "unknown error";
  throw std::runtime_error(cat(call, ": ", name));
}

}  // namespace hfr::tools
