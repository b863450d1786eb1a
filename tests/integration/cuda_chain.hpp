// A piece of a user's work in a CUDA stream with an operation in its middle.
#pragma once

#include <cstdlib>
#include <string>
#include <vector>

#include "../gpu/gpu.hpp"
#include "hfreduce/hfreduce.h"
#include "values.hpp"

namespace hfr_tests {

constexpr uint64_t kLong = 3'000'000;  // ns

// Calls with a stream return when the operation is complete.
inline bool calls_wait() {
  const char* value = std::getenv("HFREDUCE_CUDA_MEMOPS");
  return value != nullptr && std::string(value) == "0";
}

// All ranks come here before one goes on; no stream waits meanwhile.
inline void meet(hfr_comm_t comm) {
  EXPECT_EQ(hfr_all_reduce(nullptr, nullptr, 0, HFR_FLOAT32, HFR_SUM, comm, nullptr, nullptr),
            HFR_SUCCESS)
      << hfr_get_last_error(comm);
}

// Input, operation and use of the result, all in one stream, behind a kernel that takes long.
class Chain {
 public:
  Chain(int rank, int num_ranks, size_t count)
      : count_(count),
        bytes_(count * 4),
        want_(make_expected(HFR_FLOAT32, HFR_SUM, num_ranks, count)),
        source_(bytes_),
        data_(bytes_),
        copy_(bytes_) {
    source_.upload(make_input(HFR_FLOAT32, HFR_SUM, rank, num_ranks, count));
  }

  void enqueue(hfr_comm_t comm, const GpuStream& stream, uint64_t spin_ns,
               hfr_request_t* request = nullptr) {
    const Cuda& cuda = Cuda::get();
    if (spin_ns > 0) stream.spin(spin_ns);
    cuda.cuMemcpyDtoDAsync(data_.address(), source_.address(), bytes_, stream.get());
    comm_ = comm;
    if (hfr_all_reduce(data_.data(), data_.data(), count_, HFR_FLOAT32, HFR_SUM, comm, stream.get(),
                       request) != HFR_SUCCESS) {
      error_ = hfr_get_last_error(comm);
    }
    cuda.cuMemcpyDtoDAsync(copy_.address(), data_.address(), bytes_, stream.get());
    // What comes after must not reach back.
    cuda.cuMemsetD8Async(data_.address(), 0xee, bytes_, stream.get());
  }
  // What was wrong, with the error by which the stream was let go, if any.
  std::string check() const {
    if (!error_.empty()) return error_;
    if (copy_.download() == want_) return "";
    hfr_status_t status = HFR_SUCCESS;
    if (hfr_comm_get_async_error(comm_, &status) != HFR_SUCCESS) status = HFR_INVALID_ARGUMENT;
    return "wrong sum of " + std::to_string(count_) +
           (status != HFR_SUCCESS ? std::string(" after ") + hfr_get_last_error(comm_) : "") + "; ";
  }

 private:
  size_t count_, bytes_;
  std::string error_;
  hfr_comm_t comm_ = nullptr;
  std::vector<std::byte> want_;
  DeviceBuffer source_, data_, copy_;
};

}  // namespace hfr_tests
