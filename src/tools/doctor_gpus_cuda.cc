#include <array>
#include <cctype>
#include <stdexcept>

#include "base/net.hpp"
#include "base/text.hpp"
#include "tools/cuda_driver.hpp"
#include "tools/doctor_gpus.hpp"

namespace hfr::tools {
namespace {

class CudaLinkGpu : public LinkGpu {
 public:
  explicit CudaLinkGpu(int ordinal) {
    cuda_.check(cuda_.cuDeviceGet(&device_, ordinal), "cuDeviceGet");
    std::array<char, 32> bus{};
    std::array<char, 128> model{};
    cuda_.check(cuda_.cuDeviceGetPCIBusId(bus.data(), static_cast<int>(bus.size()), device_),
                "cuDeviceGetPCIBusId");
    cuda_.check(cuda_.cuDeviceGetName(model.data(), static_cast<int>(model.size()), device_),
                "cuDeviceGetName");
    // As the kernel writes it.
    for (const char* c = bus.data(); *c != '\0'; ++c)
      bus_id_ += static_cast<char>(std::tolower(static_cast<unsigned char>(*c)));
    name_ = model.data();
  }
  ~CudaLinkGpu() override {
    if (context_ == nullptr) return;
    cuda_.cuCtxSetCurrent(context_);
    for (Way& way : ways_) {
      if (way.stream != nullptr) cuda_.cuStreamDestroy(way.stream);
      if (way.on_gpu != 0) cuda_.cuMemFree(way.on_gpu);
      if (way.in_host != nullptr) cuda_.cuMemFreeHost(way.in_host);
    }
    cuda_.cuCtxSetCurrent(nullptr);
    cuda_.cuDevicePrimaryCtxRelease(device_);
  }

  std::string bus_id() const override { return bus_id_; }
  std::string name() const override { return name_; }

  void open() override {
    cuda_.check(cuda_.cuDevicePrimaryCtxRetain(&context_, device_), "cuDevicePrimaryCtxRetain");
    cuda_.check(cuda_.cuCtxSetCurrent(context_), "cuCtxSetCurrent");
    for (Way& way : ways_) {
      cuda_.check(cuda_.cuStreamCreate(&way.stream, CU_STREAM_NON_BLOCKING), "cuStreamCreate");
      cuda_.check(cuda_.cuMemAlloc(&way.on_gpu, kBytes), "cuMemAlloc");
      cuda_.check(cuda_.cuMemHostAlloc(&way.in_host, kBytes, 0), "cuMemHostAlloc");
    }
  }

  double copy(bool to_host, bool to_device, uint64_t for_ns) override {
    cuda_.check(cuda_.cuCtxSetCurrent(context_), "cuCtxSetCurrent");
    round(to_host, to_device);  // wakes the link
    size_t moved = 0;
    const uint64_t begin = monotonic_ns();
    uint64_t now = begin;
    for (; now < begin + for_ns; now = monotonic_ns()) {
      round(to_host, to_device);
      moved += kCopies * kBytes;
    }
    return static_cast<double>(moved) / (static_cast<double>(now - begin) * 1e-9);
  }

 private:
  static constexpr size_t kBytes = size_t{32} << 20;
  static constexpr size_t kCopies = 8;  // of each direction, before they are waited for
  struct Way {
    CUstream stream = nullptr;
    CUdeviceptr on_gpu = 0;
    void* in_host = nullptr;
  };

  void round(bool to_host, bool to_device) {
    Way& in = ways_[0];
    Way& out = ways_[1];
    for (size_t i = 0; i < kCopies; ++i) {
      if (to_host)
        cuda_.check(cuda_.cuMemcpyDtoHAsync(in.in_host, in.on_gpu, kBytes, in.stream), "a copy");
      if (to_device)
        cuda_.check(cuda_.cuMemcpyHtoDAsync(out.on_gpu, out.in_host, kBytes, out.stream), "a copy");
    }
    for (Way& way : ways_) cuda_.check(cuda_.cuStreamSynchronize(way.stream), "a copy");
  }

  const CudaDriver& cuda_ = CudaDriver::get();
  CUdevice device_ = 0;
  std::string bus_id_;
  std::string name_;
  CUcontext context_ = nullptr;
  std::array<Way, 2> ways_;  // to the host, to the GPU
};

}  // namespace

Result<std::vector<std::unique_ptr<LinkGpu>>> find_link_gpus() {
  std::vector<std::unique_ptr<LinkGpu>> gpus;
  try {
    const CudaDriver& cuda = CudaDriver::get();
    int count = 0;
    cuda.check(cuda.cuDeviceGetCount(&count), "cuDeviceGetCount");
    for (int i = 0; i < count; ++i) gpus.push_back(std::make_unique<CudaLinkGpu>(i));
  } catch (const std::exception& error) {
    return Status(Code::kUnsupported, error.what());
  }
  if (gpus.empty()) return Status(Code::kUnsupported, "no GPU is visible (CUDA_VISIBLE_DEVICES)");
  return gpus;
}

}  // namespace hfr::tools
