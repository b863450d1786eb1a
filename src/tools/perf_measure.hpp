// One rank's measurements of `hfreduce perf`: the timed iterations, and the checked ones.
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <vector>

#include "hfreduce/hfreduce.h"
#include "tools/perf.hpp"
#include "tools/perf_device.hpp"
#include "tools/perf_join.hpp"
#include "tools/perf_report.hpp"

namespace hfr::tools {

// Memory of a rank's device: private, or with `registered` from hfr_mem_alloc. Zeroed.
class Buffer {
 public:
  Buffer(PerfDevice& device, hfr_comm_t comm, size_t bytes, bool registered);
  ~Buffer();
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  std::byte* data() const { return static_cast<std::byte*>(data_); }

 private:
  PerfDevice& device_;
  hfr_comm_t comm_;
  void* data_ = nullptr;
};

// What the ranks do with one size, type and operation, in place or not. `send` and `recv` hold one
// part of `bytes` for each operation that is in flight together.
struct Work {
  std::byte* send = nullptr;
  std::byte* recv = nullptr;
  size_t bytes = 0;
  size_t count = 0;
  hfr_dtype_t type = HFR_FLOAT32;
  hfr_op_t op = HFR_SUM;

  bool in_place() const { return send == recv; }
};

// All ranks make the same calls in the same order. Failures are thrown as PerfError.
class Measurer {
 public:
  Measurer(hfr_comm_t comm, const PerfOptions& options);

  int rank() const { return rank_; }
  int num_ranks() const { return num_ranks_; }
  PerfDevice& device() { return *device_; }

  // Before the first run() with this type and operation, and sizes up to `most_bytes`.
  void prepare(hfr_dtype_t type, hfr_op_t op, size_t most_bytes);
  Measurement run(const Work& work);

  // All-reduces values of the host, outside of what is timed.
  template <typename T>
  std::vector<T> combine(std::vector<T> values, hfr_dtype_t type, hfr_op_t op) {
    const size_t bytes = values.size() * sizeof(T);
    Buffer scratch(*device_, comm_, bytes, false);
    device_->write(scratch.data(), values.data(), bytes);
    check(comm_,
          hfr_all_reduce(scratch.data(), scratch.data(), bytes / hfr_dtype_size(type), type, op,
                         comm_, nullptr, nullptr),
          "hfr_all_reduce");
    device_->read(values.data(), scratch.data(), bytes);
    return values;
  }

 private:
  double time(const Work& work);
  uint64_t count_wrong_values(const Work& work);
  void fill_send(const Work& work, const std::vector<std::byte>& pattern);
  void iterate(const Work& work, int iterations);
  void iterate_once(const Work& work);
  void finish();
  double average_over_ranks(double seconds);

  hfr_comm_t comm_;
  const PerfOptions& options_;
  std::unique_ptr<PerfDevice> device_;
  int rank_ = 0;
  int num_ranks_ = 1;
  hfr_stream_t stream_ = nullptr;  // not when blocking
  std::vector<std::byte> input_;
  std::vector<std::byte> expected_;
  std::vector<hfr_request_t> requests_;
  std::optional<hfr_request_t> last_;  // put on the stream
};

}  // namespace hfr::tools
