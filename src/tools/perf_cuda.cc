#include "tools/perf_cuda.hpp"

#include <array>

#include "base/text.hpp"
#include "tools/cuda_driver.hpp"
#include "tools/perf_join.hpp"

namespace hfr::tools {
namespace {

class CudaDevice : public PerfDevice {
 public:
  explicit CudaDevice(int ordinal) {
    int count = 0;
    cuda_.check(cuda_.cuDeviceGetCount(&count), "cuDeviceGetCount");
    if (count == 0) throw PerfError("no CUDA device is visible; check CUDA_VISIBLE_DEVICES");
    ordinal_ = ordinal % count;
    cuda_.check(cuda_.cuDeviceGet(&device_, ordinal_), "cuDeviceGet");
    CUcontext context = nullptr;
    cuda_.check(cuda_.cuDevicePrimaryCtxRetain(&context, device_), "cuDevicePrimaryCtxRetain");
    cuda_.check(cuda_.cuCtxSetCurrent(context), "cuCtxSetCurrent");
    cuda_.check(cuda_.cuStreamCreate(&copies_, CU_STREAM_NON_BLOCKING), "cuStreamCreate");
    cuda_.check(cuda_.cuStreamCreate(&stream_, CU_STREAM_NON_BLOCKING), "cuStreamCreate");
  }
  ~CudaDevice() override {
    drop_graph();
    if (copies_ != nullptr) cuda_.cuStreamDestroy(copies_);
    if (stream_ != nullptr) cuda_.cuStreamDestroy(stream_);
    cuda_.cuCtxSetCurrent(nullptr);
    cuda_.cuDevicePrimaryCtxRelease(device_);
  }

  std::string name() const override {
    std::array<char, 32> bus{};
    std::array<char, 128> model{};
    cuda_.check(cuda_.cuDeviceGetPCIBusId(bus.data(), static_cast<int>(bus.size()), device_),
                "cuDeviceGetPCIBusId");
    cuda_.check(cuda_.cuDeviceGetName(model.data(), static_cast<int>(model.size()), device_),
                "cuDeviceGetName");
    return cat(ordinal_, " [", bus.data(), "] ", model.data());
  }

  void* allocate(size_t bytes) override {
    CUdeviceptr memory = 0;
    const CUresult result = cuda_.cuMemAlloc(&memory, bytes == 0 ? 1 : bytes);
    if (result == CUDA_ERROR_OUT_OF_MEMORY) {
      throw PerfError(cat("no memory on GPU ", name(), " for a buffer of ", bytes_text(bytes),
                          "; lower -e or -m"));
    }
    cuda_.check(result, "cuMemAlloc");
    return reinterpret_cast<void*>(memory);
  }
  void free(void* memory) override { cuda_.cuMemFree(address(memory)); }
  void write(void* to, const void* from, size_t bytes) override {
    cuda_.check(cuda_.cuMemcpyHtoDAsync(address(to), from, bytes, copies_), "cuMemcpyHtoDAsync");
    cuda_.check(cuda_.cuStreamSynchronize(copies_), "cuStreamSynchronize");
  }
  void read(void* to, const void* from, size_t bytes) override {
    cuda_.check(cuda_.cuMemcpyDtoHAsync(to, address(from), bytes, copies_), "cuMemcpyDtoHAsync");
    cuda_.check(cuda_.cuStreamSynchronize(copies_), "cuStreamSynchronize");
  }

  hfr_stream_t stream() override { return stream_; }
  void synchronize() override {
    cuda_.check(cuda_.cuStreamSynchronize(stream_), "cuStreamSynchronize");
  }
  void capture(const std::function<void()>& work) override {
    drop_graph();
    // Relaxed: what the library's own threads do meanwhile is no part of it.
    cuda_.check(cuda_.cuStreamBeginCapture(stream_, CU_STREAM_CAPTURE_MODE_RELAXED),
                "cuStreamBeginCapture");
    CUgraph graph = nullptr;
    try {
      work();
    } catch (...) {
      cuda_.cuStreamEndCapture(stream_, &graph);
      if (graph != nullptr) cuda_.cuGraphDestroy(graph);
      throw;
    }
    cuda_.check(cuda_.cuStreamEndCapture(stream_, &graph), "cuStreamEndCapture");
    const CUresult result = cuda_.cuGraphInstantiateWithFlags(&graph_, graph, 0);
    cuda_.cuGraphDestroy(graph);
    cuda_.check(result, "cuGraphInstantiateWithFlags");
  }
  void replay() override { cuda_.check(cuda_.cuGraphLaunch(graph_, stream_), "cuGraphLaunch"); }

 private:
  static CUdeviceptr address(const void* memory) { return reinterpret_cast<CUdeviceptr>(memory); }
  void drop_graph() {
    if (graph_ != nullptr) cuda_.cuGraphExecDestroy(graph_);
    graph_ = nullptr;
  }

  const CudaDriver& cuda_ = CudaDriver::get();
  int ordinal_ = 0;
  CUdevice device_ = 0;
  CUstream copies_ = nullptr;  // filling and checking, apart from what is timed
  CUstream stream_ = nullptr;
  CUgraphExec graph_ = nullptr;
};

}  // namespace

std::unique_ptr<PerfDevice> make_cuda_device(int ordinal) {
  return std::make_unique<CudaDevice>(ordinal);
}

}  // namespace hfr::tools
