// GPUs for tests: the driver API loaded at run time, as the library does, plus what only tests
// need. A test that needs one begins with HFR_NEED_GPU(), which skips with the reason.
//
// Tests use GPU 0; with HFREDUCE_TEST_GPUS=n in the environment the first n, of which rank r takes
// GPU r mod n.
#pragma once

#include <cuda.h>
#include <dlfcn.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <vector>

namespace hfr_tests {

#define HFR_TEST_CUDA_FUNCTIONS(X) \
  X(cuInit)                        \
  X(cuDeviceGet)                   \
  X(cuDeviceGetCount)              \
  X(cuDeviceCanAccessPeer)         \
  X(cuDevicePrimaryCtxRetain)      \
  X(cuCtxSetCurrent)               \
  X(cuCtxSynchronize)              \
  X(cuMemAlloc)                    \
  X(cuMemFree)                     \
  X(cuMemAllocManaged)             \
  X(cuMemHostAlloc)                \
  X(cuMemFreeHost)                 \
  X(cuMemHostGetDevicePointer)     \
  X(cuMemcpyHtoD)                  \
  X(cuMemcpyDtoH)                  \
  X(cuMemcpyHtoDAsync)             \
  X(cuMemcpyDtoHAsync)             \
  X(cuMemcpyDtoDAsync)             \
  X(cuMemsetD8)                    \
  X(cuMemsetD8Async)               \
  X(cuMemGetInfo)                  \
  X(cuModuleLoadData)              \
  X(cuModuleGetFunction)           \
  X(cuLaunchKernel)                \
  X(cuStreamCreate)                \
  X(cuStreamDestroy)               \
  X(cuStreamSynchronize)           \
  X(cuStreamQuery)                 \
  X(cuStreamWaitEvent)             \
  X(cuStreamWaitValue64)           \
  X(cuStreamBeginCapture)          \
  X(cuStreamEndCapture)            \
  X(cuGraphDestroy)                \
  X(cuGraphInstantiateWithFlags)   \
  X(cuGraphExecDestroy)            \
  X(cuGraphLaunch)                 \
  X(cuEventCreate)                 \
  X(cuEventRecord)                 \
  X(cuEventElapsedTime)            \
  X(cuEventSynchronize)

struct Cuda {
#define HFR_DECLARE(name) decltype(&::name) name = nullptr;
  HFR_TEST_CUDA_FUNCTIONS(HFR_DECLARE)
#undef HFR_DECLARE
  struct Gpu {
    CUcontext context = nullptr;  // its primary one
    CUfunction spin = nullptr;
  };
  std::string missing;  // why there is no GPU; empty: there is one
  std::vector<Gpu> gpus;

  // The process' only one. Not before a fork.
  static const Cuda& get() {
    static const Cuda kCuda = load();
    return kCuda;
  }

  // spin(ns): keeps one block busy for so many nanoseconds.
  static constexpr const char* kSpinSource = R"(
.version 7.0
.target sm_70
.address_size 64
.visible .entry spin(.param .u64 ns) {
  .reg .b64 %rd<5>;
  .reg .pred %p;
  ld.param.u64 %rd1, [ns];
  mov.u64 %rd2, %globaltimer;
  add.u64 %rd3, %rd2, %rd1;
again:
  mov.u64 %rd4, %globaltimer;
  setp.lt.u64 %p, %rd4, %rd3;
  @%p bra again;
  ret;
}
)";

 private:
  static Cuda load() {
    Cuda cuda;
    void* handle = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
    if (handle == nullptr) {
      cuda.missing = "no CUDA driver on this machine";
      return cuda;
    }
#define HFR_NAME(name) #name
#define HFR_LOAD(name)                                                              \
  cuda.name = reinterpret_cast<decltype(cuda.name)>(dlsym(handle, HFR_NAME(name))); \
  if (cuda.name == nullptr) cuda.missing = std::string("the driver has no ") + HFR_NAME(name);
    HFR_TEST_CUDA_FUNCTIONS(HFR_LOAD)
#undef HFR_LOAD
#undef HFR_NAME
    if (!cuda.missing.empty()) return cuda;
    // The library shall see these and no others.
    const char* number = std::getenv("HFREDUCE_TEST_GPUS");
    const int wanted = number != nullptr ? std::atoi(number) : 1;
    std::string visible = "0";
    for (int i = 1; i < wanted; ++i) visible += "," + std::to_string(i);
    setenv("CUDA_VISIBLE_DEVICES", visible.c_str(), 0);
    int count = 0;
    if (cuda.cuInit(0) != CUDA_SUCCESS || cuda.cuDeviceGetCount(&count) != CUDA_SUCCESS ||
        count == 0) {
      cuda.missing = "the CUDA driver finds no usable GPU";
    }
    for (int i = std::min(count, wanted); i-- > 0 && cuda.missing.empty();) cuda.add_gpu(i);
    return cuda;
  }

  // Its context is the current one afterwards.
  void add_gpu(int ordinal) {
    CUdevice device = 0;
    Gpu gpu;
    CUmodule module = nullptr;
    if (cuDeviceGet(&device, ordinal) != CUDA_SUCCESS ||
        cuDevicePrimaryCtxRetain(&gpu.context, device) != CUDA_SUCCESS ||
        cuCtxSetCurrent(gpu.context) != CUDA_SUCCESS) {
      missing = "the CUDA driver finds no usable GPU";
      return;
    }
    if (cuModuleLoadData(&module, kSpinSource) != CUDA_SUCCESS ||
        cuModuleGetFunction(&gpu.spin, module, "spin") != CUDA_SUCCESS) {
      missing = "the GPU takes no kernel for sm_70 and later";
      return;
    }
    // A kernel's first launch may wait for the whole context: not while a stream is held.
    uint64_t none = 0;
    void* arguments[] = {&none};
    CUdeviceptr word = 0;
    if (cuLaunchKernel(gpu.spin, 1, 1, 1, 1, 1, 1, 0, nullptr, arguments, nullptr) !=
            CUDA_SUCCESS ||
        cuMemAlloc(&word, size_t{1} << 20) != CUDA_SUCCESS ||
        cuMemsetD8(word, 0, size_t{1} << 20) != CUDA_SUCCESS ||
        cuMemsetD8(word, 0, 5) != CUDA_SUCCESS ||
        cuMemcpyDtoDAsync(word, word + 4096, 3, nullptr) != CUDA_SUCCESS ||
        cuCtxSynchronize() != CUDA_SUCCESS || cuMemFree(word) != CUDA_SUCCESS) {
      missing = "the GPU runs no kernel";
    }
    gpus.insert(gpus.begin(), gpu);
  }
};

#define HFR_NEED_GPU() \
  if (!hfr_tests::Cuda::get().missing.empty()) GTEST_SKIP() << hfr_tests::Cuda::get().missing

#define HFR_CU(call) ASSERT_EQ(hfr_tests::Cuda::get().call, CUDA_SUCCESS)

inline int num_gpus() { return static_cast<int>(Cuda::get().gpus.size()); }

// The GPU that the calling thread works on.
inline size_t& current_gpu() {
  thread_local size_t current = 0;
  return current;
}

// The calling thread works on rank `rank`'s GPU. Threads begin with this.
inline void use_gpu(int rank = 0) {
  const Cuda& cuda = Cuda::get();
  current_gpu() = static_cast<size_t>(rank) % cuda.gpus.size();
  cuda.cuCtxSetCurrent(cuda.gpus[current_gpu()].context);
}

// Device memory with a margin on either side that nobody may write.
class DeviceBuffer {
 public:
  static constexpr size_t kMargin = 256;
  explicit DeviceBuffer(size_t bytes, size_t offset = 0) : bytes_(bytes), offset_(offset) {
    const Cuda& cuda = Cuda::get();
    EXPECT_EQ(cuda.cuMemAlloc(&memory_, bytes + offset + 2 * kMargin), CUDA_SUCCESS);
    EXPECT_EQ(cuda.cuMemsetD8(memory_, 0x5a, bytes + offset + 2 * kMargin), CUDA_SUCCESS);
  }
  ~DeviceBuffer() { Cuda::get().cuMemFree(memory_); }
  DeviceBuffer(const DeviceBuffer&) = delete;
  DeviceBuffer& operator=(const DeviceBuffer&) = delete;

  void* data() const { return reinterpret_cast<void*>(address()); }
  CUdeviceptr address() const { return memory_ + kMargin + offset_; }
  void upload(const std::vector<std::byte>& from) {
    if (!from.empty()) {
      EXPECT_EQ(Cuda::get().cuMemcpyHtoD(address(), from.data(), from.size()), CUDA_SUCCESS);
      // The call may return while the last bytes are still on their way.
      EXPECT_EQ(Cuda::get().cuCtxSynchronize(), CUDA_SUCCESS);
    }
  }
  std::vector<std::byte> download() const {
    std::vector<std::byte> to(bytes_);
    if (bytes_ > 0) {
      EXPECT_EQ(Cuda::get().cuMemcpyDtoH(to.data(), address(), bytes_), CUDA_SUCCESS);
    }
    return to;
  }
  bool margins_untouched() const {
    std::vector<std::byte> all(bytes_ + offset_ + 2 * kMargin);
    EXPECT_EQ(Cuda::get().cuMemcpyDtoH(all.data(), memory_, all.size()), CUDA_SUCCESS);
    for (size_t i = 0; i < all.size(); ++i) {
      const bool mine = i >= kMargin + offset_ && i < kMargin + offset_ + bytes_;
      if (!mine && all[i] != std::byte{0x5a}) return false;
    }
    return true;
  }

 private:
  size_t bytes_;
  size_t offset_;
  CUdeviceptr memory_ = 0;
};

class GpuStream {
 public:
  GpuStream() {
    EXPECT_EQ(Cuda::get().cuStreamCreate(&stream_, CU_STREAM_NON_BLOCKING), CUDA_SUCCESS);
  }
  ~GpuStream() { Cuda::get().cuStreamDestroy(stream_); }
  GpuStream(const GpuStream&) = delete;
  GpuStream& operator=(const GpuStream&) = delete;
  CUstream get() const { return stream_; }
  void synchronize() const { EXPECT_EQ(Cuda::get().cuStreamSynchronize(stream_), CUDA_SUCCESS); }
  bool idle() const { return Cuda::get().cuStreamQuery(stream_) == CUDA_SUCCESS; }
  // A kernel that runs so long.
  void spin(uint64_t ns) const {
    void* arguments[] = {&ns};
    EXPECT_EQ(Cuda::get().cuLaunchKernel(Cuda::get().gpus[current_gpu()].spin, 1, 1, 1, 1, 1, 1, 0,
                                         stream_, arguments, nullptr),
              CUDA_SUCCESS);
  }

 private:
  CUstream stream_ = nullptr;
};

// What `body` puts into a stream, as a graph.
class Graph {
 public:
  template <typename Body>
  Graph(const GpuStream& stream, CUstreamCaptureMode mode, Body&& body) {
    const Cuda& cuda = Cuda::get();
    CUgraph graph = nullptr;
    EXPECT_EQ(cuda.cuStreamBeginCapture(stream.get(), mode), CUDA_SUCCESS);
    body();
    EXPECT_EQ(cuda.cuStreamEndCapture(stream.get(), &graph), CUDA_SUCCESS);
    EXPECT_EQ(cuda.cuGraphInstantiateWithFlags(&runs_, graph, 0), CUDA_SUCCESS);
    EXPECT_EQ(cuda.cuGraphDestroy(graph), CUDA_SUCCESS);
  }
  ~Graph() { Cuda::get().cuGraphExecDestroy(runs_); }
  Graph(const Graph&) = delete;
  Graph& operator=(const Graph&) = delete;
  void launch(const GpuStream& stream) const {
    EXPECT_EQ(Cuda::get().cuGraphLaunch(runs_, stream.get()), CUDA_SUCCESS);
  }

 private:
  CUgraphExec runs_ = nullptr;
};

// A word in pinned memory that a stream waits for and a test sets.
class Gate {
 public:
  Gate() {
    const Cuda& cuda = Cuda::get();
    void* memory = nullptr;
    EXPECT_EQ(cuda.cuMemHostAlloc(&memory, 8, CU_MEMHOSTALLOC_PORTABLE | CU_MEMHOSTALLOC_DEVICEMAP),
              CUDA_SUCCESS);
    word_ = static_cast<volatile uint64_t*>(memory);
    *word_ = 0;
    EXPECT_EQ(cuda.cuMemHostGetDevicePointer(&address_, memory, 0), CUDA_SUCCESS);
  }
  ~Gate() { Cuda::get().cuMemFreeHost(const_cast<uint64_t*>(word_)); }
  Gate(const Gate&) = delete;
  Gate& operator=(const Gate&) = delete;
  void hold(const GpuStream& stream) const {
    EXPECT_EQ(Cuda::get().cuStreamWaitValue64(stream.get(), address_, 1, CU_STREAM_WAIT_VALUE_GEQ),
              CUDA_SUCCESS);
  }
  void open() { *word_ = 1; }

 private:
  volatile uint64_t* word_ = nullptr;
  CUdeviceptr address_ = 0;
};

}  // namespace hfr_tests
