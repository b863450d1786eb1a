// CudaContext: the CUDA context that a rank works in, and ContextScope, which makes it current.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "device/cuda/driver.hpp"

namespace hfr {

class CudaContext {
 public:
  // `context`: the caller's, which it keeps alive; null: the primary context of device
  // `ordinal` mod the number of devices.
  static Result<std::shared_ptr<CudaContext>> open(const Driver& driver, void* context,
                                                   int ordinal);
  ~CudaContext();
  CudaContext(const CudaContext&) = delete;
  CudaContext& operator=(const CudaContext&) = delete;

  // The device of the context that open() would work in.
  static Result<CUdevice> device_of(const Driver& driver, void* context, int ordinal);
  // "0000:5e:00.0": where on the machine the device sits.
  static Result<std::string> bus_id_of(const Driver& driver, CUdevice device);

  const Driver& driver() const { return driver_; }
  CUcontext get() const { return context_; }
  CUdevice device() const { return device_; }
  const std::string& bus_id() const { return bus_id_; }
  // Bus ids of the other GPUs visible to the process that this one reaches over NVLink.
  Result<std::vector<std::string>> gpus_over_nvlink() const;
  int attribute(CUdevice_attribute which) const;
  // What a stream does after a word told it to go on sees what the CPU wrote to the GPU's memory
  // before the word: by itself, or when the wait for the word asks for it.
  bool sees_cpu_writes() const {
    return attribute(CU_DEVICE_ATTRIBUTE_GPU_DIRECT_RDMA_WRITES_ORDERING) >=
           CU_GPU_DIRECT_RDMA_WRITES_ORDERING_OWNER;
  }
  bool can_flush_cpu_writes() const {
    return attribute(CU_DEVICE_ATTRIBUTE_CAN_FLUSH_REMOTE_WRITES) != 0;
  }
  // Whether work can be ordered in the stream: it is of this context's device. The driver's own
  // streams (CU_STREAM_LEGACY, CU_STREAM_PER_THREAD) are of the calling thread's current context.
  Status check_stream(CUstream stream) const;

 private:
  explicit CudaContext(const Driver& driver) : driver_(driver) {}

  const Driver& driver_;
  CUcontext context_ = nullptr;
  CUdevice device_ = 0;
  bool retained_ = false;  // the primary context is held
  std::string bus_id_;
};

// Any thread may drive a device: the context is current for the scope's life, then the thread's own
// again. Meanwhile no call of this thread disturbs a capture, whatever thread captures in whatever
// mode.
class ContextScope {
 public:
  explicit ContextScope(const CudaContext& context) : driver_(context.driver()) {
    driver_.cuThreadExchangeStreamCaptureMode(&mode_);
    result_ = driver_.cuCtxPushCurrent(context.get());
  }
  ~ContextScope() {
    CUcontext mine = nullptr;
    if (result_ == CUDA_SUCCESS) driver_.cuCtxPopCurrent(&mine);
    driver_.cuThreadExchangeStreamCaptureMode(&mode_);
  }
  ContextScope(const ContextScope&) = delete;
  ContextScope& operator=(const ContextScope&) = delete;
  CUresult result() const { return result_; }

 private:
  const Driver& driver_;
  CUstreamCaptureMode mode_ = CU_STREAM_CAPTURE_MODE_RELAXED;
  CUresult result_;
};

// Runs enqueue(stream) in a stream made for it, as others may wait for the caller, and waits for
// it. The context is current.
template <typename Enqueue>
CUresult run_in_own_stream(const Driver& driver, const Enqueue& enqueue) {
  CUstream stream = nullptr;
  CUresult result = driver.cuStreamCreateWithPriority(&stream, CU_STREAM_NON_BLOCKING, 0);
  if (result != CUDA_SUCCESS) return result;
  result = enqueue(stream);
  const CUresult finished = driver.cuStreamSynchronize(stream);
  driver.cuStreamDestroy(stream);
  return result != CUDA_SUCCESS ? result : finished;
}

}  // namespace hfr
