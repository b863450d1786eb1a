#include "device/cuda/context.hpp"

#include <array>

#include "base/text.hpp"

namespace hfr {

Result<std::shared_ptr<CudaContext>> CudaContext::open(const Driver& driver, void* context,
                                                       int ordinal) {
  std::shared_ptr<CudaContext> made(new CudaContext(driver));
  HFR_ASSIGN_OR_RETURN(made->device_, device_of(driver, context, ordinal));
  made->context_ = static_cast<CUcontext>(context);
  if (context == nullptr) {
    HFR_RETURN_IF_ERROR(
        driver.status("cuDevicePrimaryCtxRetain",
                      driver.cuDevicePrimaryCtxRetain(&made->context_, made->device_)));
    made->retained_ = true;
  }
  HFR_ASSIGN_OR_RETURN(made->bus_id_, bus_id_of(driver, made->device_));
  return made;
}

Result<CUdevice> CudaContext::device_of(const Driver& driver, void* context, int ordinal) {
  CUdevice device = 0;
  if (context != nullptr) {
    CudaContext callers(driver);
    callers.context_ = static_cast<CUcontext>(context);
    ContextScope scope(callers);
    HFR_RETURN_IF_ERROR(driver.status("cuCtxPushCurrent of the caller's context", scope.result()));
    HFR_RETURN_IF_ERROR(driver.status("cuCtxGetDevice", driver.cuCtxGetDevice(&device)));
    return device;
  }
  int count = 0;
  HFR_RETURN_IF_ERROR(driver.status("cuDeviceGetCount", driver.cuDeviceGetCount(&count)));
  if (count == 0) {
    return Status(Code::kUnsupported,
                  "no CUDA device is visible to this process; check CUDA_VISIBLE_DEVICES, or use "
                  "host memory (HFREDUCE_DEVICE=host)");
  }
  HFR_RETURN_IF_ERROR(driver.status("cuDeviceGet", driver.cuDeviceGet(&device, ordinal % count)));
  return device;
}

Result<std::string> CudaContext::bus_id_of(const Driver& driver, CUdevice device) {
  std::array<char, 32> name{};
  HFR_RETURN_IF_ERROR(driver.status(
      "cuDeviceGetPCIBusId",
      driver.cuDeviceGetPCIBusId(name.data(), static_cast<int>(name.size()), device)));
  return std::string(name.data());
}

Result<std::vector<std::string>> CudaContext::gpus_over_nvlink() const {
  int count = 0;
  HFR_RETURN_IF_ERROR(driver_.status("cuDeviceGetCount", driver_.cuDeviceGetCount(&count)));
  std::vector<std::string> found;
  for (int i = 0; i < count; ++i) {
    CUdevice other = 0;
    HFR_RETURN_IF_ERROR(driver_.status("cuDeviceGet", driver_.cuDeviceGet(&other, i)));
    if (other == device_) continue;
    auto has = [&](CUdevice_P2PAttribute which) {
      int value = 0;
      return driver_.cuDeviceGetP2PAttribute(&value, which, device_, other) == CUDA_SUCCESS &&
             value != 0;
    };
    // PCIe carries no atomics between GPUs, NVLink does.
    if (!has(CU_DEVICE_P2P_ATTRIBUTE_ACCESS_SUPPORTED) ||
        !has(CU_DEVICE_P2P_ATTRIBUTE_NATIVE_ATOMIC_SUPPORTED)) {
      continue;
    }
    HFR_ASSIGN_OR_RETURN(std::string name, bus_id_of(driver_, other));
    found.push_back(std::move(name));
  }
  return found;
}

Status CudaContext::check_stream(CUstream stream) const {
  CUcontext of_stream = nullptr;
  CUresult result = CUDA_SUCCESS;
  {
    // As in a scope, but for the context: the driver's own streams are the current one's.
    CUstreamCaptureMode mode = CU_STREAM_CAPTURE_MODE_RELAXED;
    driver_.cuThreadExchangeStreamCaptureMode(&mode);
    result = driver_.cuStreamGetCtx(stream, &of_stream);
    driver_.cuThreadExchangeStreamCaptureMode(&mode);
  }
  // One of the driver's own streams and no current context: it will be this context's.
  if (result == CUDA_ERROR_INVALID_CONTEXT) return Status();
  if (result == CUDA_SUCCESS && of_stream == context_) return Status();
  CUdevice device = 0;
  if (result == CUDA_SUCCESS) result = driver_.cuCtxPushCurrent(of_stream);
  if (result == CUDA_SUCCESS) {
    result = driver_.cuCtxGetDevice(&device);
    driver_.cuCtxPopCurrent(&of_stream);
  }
  if (result != CUDA_SUCCESS) {
    return Status(
        Code::kInvalidArgument,
        driver_.text("the stream cannot be looked up: is it one of this process's?", result));
  }
  if (device == device_) return Status();
  return Status(Code::kInvalidArgument,
                cat("the stream is on CUDA device ", device,
                    ", but this rank's communicator was made on device ", device_,
                    "; pass a stream of that device, or make the communicator with device ", device,
                    " current"));
}

CudaContext::~CudaContext() {
  if (retained_) driver_.cuDevicePrimaryCtxRelease(device_);
}

int CudaContext::attribute(CUdevice_attribute which) const {
  int value = 0;
  return driver_.cuDeviceGetAttribute(&value, which, device_) == CUDA_SUCCESS ? value : 0;
}

}  // namespace hfr
