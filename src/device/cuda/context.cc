#include "device/cuda/context.hpp"

#include <array>

namespace hfr {

Result<std::shared_ptr<CudaContext>> CudaContext::open(const Driver& driver, void* context,
                                                       int ordinal) {
  std::shared_ptr<CudaContext> made(new CudaContext(driver));
  if (context != nullptr) {
    made->context_ = static_cast<CUcontext>(context);
    ContextScope scope(*made);
    HFR_RETURN_IF_ERROR(driver.status("cuCtxPushCurrent of the caller's context", scope.result()));
    HFR_RETURN_IF_ERROR(driver.status("cuCtxGetDevice", driver.cuCtxGetDevice(&made->device_)));
  } else {
    int count = 0;
    HFR_RETURN_IF_ERROR(driver.status("cuDeviceGetCount", driver.cuDeviceGetCount(&count)));
    if (count == 0) {
      return Status(Code::kUnsupported,
                    "no CUDA device is visible to this process; check CUDA_VISIBLE_DEVICES, or use "
                    "host memory (HFREDUCE_DEVICE=host)");
    }
    HFR_RETURN_IF_ERROR(
        driver.status("cuDeviceGet", driver.cuDeviceGet(&made->device_, ordinal % count)));
    HFR_RETURN_IF_ERROR(
        driver.status("cuDevicePrimaryCtxRetain",
                      driver.cuDevicePrimaryCtxRetain(&made->context_, made->device_)));
    made->retained_ = true;
  }
  std::array<char, 32> name{};
  HFR_RETURN_IF_ERROR(driver.status(
      "cuDeviceGetPCIBusId",
      driver.cuDeviceGetPCIBusId(name.data(), static_cast<int>(name.size()), made->device_)));
  made->bus_id_ = name.data();
  return made;
}

CudaContext::~CudaContext() {
  if (retained_) driver_.cuDevicePrimaryCtxRelease(device_);
}

int CudaContext::attribute(CUdevice_attribute which) const {
  int value = 0;
  return driver_.cuDeviceGetAttribute(&value, which, device_) == CUDA_SUCCESS ? value : 0;
}

}  // namespace hfr
