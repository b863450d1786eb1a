// A driver with a copy engine that is made up: it copies memory of the process at once, and notes
// what it is told.
#pragma once

#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <cstring>

#include "gdr_fixture.hpp"
#include "noted_calls.hpp"

namespace hfr {

struct MadeUpEngine {
  std::atomic<bool> stuck{false};  // copies, and the words after them, never come
  std::atomic<int> takes_us{0};    // each copy
  std::atomic<int> ordering{0};    // GPU_DIRECT_RDMA_WRITES_ORDERING
  std::atomic<int> flushes{0};     // CAN_FLUSH_REMOTE_WRITES

  static MadeUpEngine& get() {
    static MadeUpEngine only;
    return only;
  }
};

inline Driver with_engine() {
  Driver driver = that_notes_calls();
  driver.cuPointerGetAttributes = look_up;
  driver.cuDeviceGetAttribute = [](int* value, CUdevice_attribute which, CUdevice) {
    MadeUpEngine& engine = MadeUpEngine::get();
    *value = which == CU_DEVICE_ATTRIBUTE_GPU_DIRECT_RDMA_WRITES_ORDERING ? engine.ordering.load()
             : which == CU_DEVICE_ATTRIBUTE_CAN_FLUSH_REMOTE_WRITES       ? engine.flushes.load()
                                                                          : 0;
    return CUDA_SUCCESS;
  };
  driver.cuMemAlloc = [](CUdeviceptr* memory, size_t bytes) {
    *memory = reinterpret_cast<CUdeviceptr>(std::calloc(bytes, 1));
    return CUDA_SUCCESS;
  };
  driver.cuMemFree = [](CUdeviceptr memory) {
    std::free(reinterpret_cast<void*>(memory));
    return CUDA_SUCCESS;
  };
  driver.cuMemcpyDtoHAsync = [](void* to, CUdeviceptr from, size_t bytes, CUstream) {
    calls() += "in ";
    usleep(static_cast<unsigned>(MadeUpEngine::get().takes_us));
    if (!MadeUpEngine::get().stuck) std::memcpy(to, reinterpret_cast<void*>(from), bytes);
    return CUDA_SUCCESS;
  };
  driver.cuMemcpyHtoDAsync = [](CUdeviceptr to, const void* from, size_t bytes, CUstream) {
    calls() += "out ";
    usleep(static_cast<unsigned>(MadeUpEngine::get().takes_us));
    if (!MadeUpEngine::get().stuck) std::memcpy(reinterpret_cast<void*>(to), from, bytes);
    return CUDA_SUCCESS;
  };
  driver.cuStreamWaitValue64 = [](CUstream, CUdeviceptr, cuuint64_t, unsigned flags) {
    calls() += (flags & CU_STREAM_WAIT_VALUE_FLUSH) != 0 ? "flushing-wait " : "wait ";
    return CUDA_SUCCESS;
  };
  driver.cuStreamWriteValue64 = [](CUstream, CUdeviceptr word, cuuint64_t value, unsigned) {
    calls() += "word ";
    if (!MadeUpEngine::get().stuck)
      reinterpret_cast<std::atomic<uint64_t>*>(word)->store(value, std::memory_order_release);
    return CUDA_SUCCESS;
  };
  driver.cuEventCreate = [](CUevent* event, unsigned) {
    *event = reinterpret_cast<CUevent>(0x20);
    return CUDA_SUCCESS;
  };
  driver.cuEventRecord = [](CUevent, CUstream) {
    calls() += "event ";
    return CUDA_SUCCESS;
  };
  driver.cuEventQuery = [](CUevent) { return CUDA_SUCCESS; };
  driver.cuEventDestroy = [](CUevent) { return CUDA_SUCCESS; };
  return driver;
}

// A rank's bounces over such a driver.
class WithEngine : public WithGdrCopy {
 protected:
  void SetUp() override {
    WithGdrCopy::SetUp();
    MadeUpEngine& engine = MadeUpEngine::get();
    engine.stuck = false;
    engine.takes_us = engine.flushes = 0;
    engine.ordering = CU_GPU_DIRECT_RDMA_WRITES_ORDERING_OWNER;
    auto opened = CudaContext::open(driver_, made_up_context(1), 0);
    ASSERT_TRUE(opened.ok()) << opened.status().message();
    context_ = *opened;
    calls_since();
  }
  void TearDown() override {
    WithGdrCopy::TearDown();
    current_contexts().clear();
  }

  const Driver driver_ = with_engine();
  std::shared_ptr<CudaContext> context_;
};

}  // namespace hfr
