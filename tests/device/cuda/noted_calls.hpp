// A made-up driver that notes what it is handed.
#pragma once

#include <cstdlib>
#include <string>
#include <utility>

#include "base/text.hpp"
#include "made_up_driver.hpp"

namespace hfr {

// Since the last look: w<n> the stream waits until turn is n, c a copy, b<n> a batch of so many,
// s and s<n> signals.
inline std::string& calls() {
  static std::string text;
  return text;
}
inline std::string calls_since() { return std::exchange(calls(), ""); }

inline Driver that_notes_calls() {
  Driver driver = made_up_driver();
  driver.cuStreamCreateWithPriority = [](CUstream* stream, unsigned, int) {
    *stream = reinterpret_cast<CUstream>(0x10);
    return CUDA_SUCCESS;
  };
  driver.cuMemHostAlloc = [](void** memory, size_t bytes, unsigned) {
    *memory = std::aligned_alloc(64, (bytes + 63) / 64 * 64);
    return CUDA_SUCCESS;
  };
  driver.cuMemHostGetDevicePointer = [](CUdeviceptr* address, void* memory, unsigned) {
    *address = reinterpret_cast<CUdeviceptr>(memory);
    return CUDA_SUCCESS;
  };
  driver.cuMemFreeHost = [](void* memory) {
    std::free(memory);
    return CUDA_SUCCESS;
  };
  driver.cuStreamQuery = [](CUstream) { return CUDA_SUCCESS; };
  driver.cuStreamDestroy = [](CUstream) { return CUDA_SUCCESS; };
  driver.cuStreamWaitValue64 = [](CUstream, CUdeviceptr, cuuint64_t value, unsigned) {
    calls() += cat("w", value, " ");
    return CUDA_SUCCESS;
  };
  driver.cuMemcpyDtoHAsync = [](void*, CUdeviceptr, size_t, CUstream) {
    calls() += "c ";
    return CUDA_SUCCESS;
  };
  driver.cuStreamWriteValue64 = [](CUstream, CUdeviceptr, cuuint64_t, unsigned) {
    calls() += "s ";
    return CUDA_SUCCESS;
  };
  driver.cuStreamBatchMemOp = [](CUstream, unsigned count, CUstreamBatchMemOpParams*, unsigned) {
    calls() += cat("s", count, " ");
    return CUDA_SUCCESS;
  };
#if CUDA_VERSION >= 13000
  driver.cuMemcpyBatchAsync = [](CUdeviceptr*, CUdeviceptr*, size_t*, size_t count,
                                 CUmemcpyAttributes*, size_t*, size_t, CUstream) {
    calls() += cat("b", count, " ");
    return CUDA_SUCCESS;
  };
#endif
  return driver;
}

// A batch of two copies.
inline const std::string kTwo = CUDA_VERSION >= 13000 ? "b2 s2 " : "c c s2 ";

}  // namespace hfr
