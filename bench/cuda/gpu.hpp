// What the CUDA benchmarks share: the driver, a context, buffers, streams and the link's limit.
// Everything throws std::runtime_error with a sentence.
#pragma once

#include <algorithm>
#include <chrono>
#include <stdexcept>
#include <string>
#include <vector>

#include "device/cuda/driver.hpp"

namespace hfr_bench {

inline double now_s() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

class Gpu {
 public:
  // Device `ordinal` mod the number of devices.
  explicit Gpu(int ordinal = 0) : driver_(load()) {
    CUdevice device = 0;
    check(driver_.cuDeviceGetCount(&num_devices_), "cuDeviceGetCount");
    if (num_devices_ == 0) throw std::runtime_error("no CUDA device; see CUDA_VISIBLE_DEVICES");
    check(driver_.cuDeviceGet(&device, ordinal % num_devices_), "cuDeviceGet");
    check(driver_.cuDevicePrimaryCtxRetain(&context_, device), "cuDevicePrimaryCtxRetain");
    use();
    char name[128] = {};
    check(driver_.cuDeviceGetName(name, sizeof(name), device), "cuDeviceGetName");
    name_ = name;
  }
  // Makes the context current in the calling thread.
  void use() const { check(driver_.cuCtxPushCurrent(context_), "cuCtxPushCurrent"); }
  const hfr::Driver& driver() const { return driver_; }
  const std::string& name() const { return name_; }
  int num_devices() const { return num_devices_; }

  void check(CUresult result, const char* call) const {
    if (result != CUDA_SUCCESS) throw std::runtime_error(driver_.text(call, result));
  }
  CUdeviceptr allocate(size_t bytes) const {
    CUdeviceptr memory = 0;
    check(driver_.cuMemAlloc(&memory, bytes), "cuMemAlloc");
    return memory;
  }
  void* allocate_pinned(size_t bytes) const {
    void* memory = nullptr;
    check(driver_.cuMemHostAlloc(&memory, bytes, CU_MEMHOSTALLOC_PORTABLE), "cuMemHostAlloc");
    return memory;
  }
  CUstream make_stream() const {
    CUstream stream = nullptr;
    check(driver_.cuStreamCreateWithPriority(&stream, CU_STREAM_NON_BLOCKING, 0), "cuStreamCreate");
    return stream;
  }
  void synchronize(CUstream stream) const {
    check(driver_.cuStreamSynchronize(stream), "cuStreamSynchronize");
  }

 private:
  static const hfr::Driver& load() {
    const hfr::Result<hfr::Driver>& driver = hfr::cuda_driver();
    if (!driver.ok()) throw std::runtime_error(driver.status().message());
    return *driver;
  }

  const hfr::Driver& driver_;
  CUcontext context_ = nullptr;
  int num_devices_ = 0;
  std::string name_;
};

// GB/s each way while both copy engines work: the least of the pipeline's time is bytes over this.
class TwoWayLimit {
 public:
  static constexpr size_t kBytes = size_t{256} << 20;
  explicit TwoWayLimit(const Gpu& gpu)
      : gpu_(gpu),
        in_(gpu.make_stream()),
        out_(gpu.make_stream()),
        device_{gpu.allocate(kBytes), gpu.allocate(kBytes)},
        host_{gpu.allocate_pinned(kBytes), gpu.allocate_pinned(kBytes)} {}

  // The best of a few.
  double measure() const {
    double best = 0;
    for (int i = 0; i < 5; ++i) {
      const double start = now_s();
      gpu_.check(gpu_.driver().cuMemcpyDtoHAsync(host_[0], device_[0], kBytes, in_), "copy");
      gpu_.check(gpu_.driver().cuMemcpyHtoDAsync(device_[1], host_[1], kBytes, out_), "copy");
      gpu_.synchronize(in_);
      gpu_.synchronize(out_);
      best = std::max(best, static_cast<double>(kBytes) / (now_s() - start) / 1e9);
    }
    return best;
  }

 private:
  const Gpu& gpu_;
  CUstream in_, out_;
  CUdeviceptr device_[2];
  void* host_[2];
};

}  // namespace hfr_bench
