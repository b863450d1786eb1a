// Where the ranks of `hfreduce perf` have their buffers: host memory, or a GPU.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "hfreduce/hfreduce.h"

namespace hfr::tools {

// One rank's device, used by that rank's thread. Calls are complete on return, and throw
// std::runtime_error with a sentence.
class PerfDevice {
 public:
  virtual ~PerfDevice() = default;
  // "host", "0 [0000:5e:00.0] NVIDIA H200".
  virtual std::string name() const = 0;
  // Private memory, of any content; or a PerfError that says how much was asked for.
  virtual void* allocate(size_t bytes) = 0;
  virtual void free(void* memory) = 0;
  virtual void write(void* to, const void* from, size_t bytes) = 0;
  virtual void read(void* to, const void* from, size_t bytes) = 0;

  // The device's own stream for operations, and the wait for everything that was put on it.
  virtual hfr_stream_t stream() = 0;
  virtual void synchronize() = 0;
  // Keeps what `work` puts on the stream as a CUDA graph, in place of the one before; it does not
  // run. replay() puts it on the stream.
  virtual void capture(const std::function<void()>& work) = 0;
  virtual void replay() = 0;
};

// The device of this rank: host memory, or for HFR_DEVICE_CUDA the GPU that the library takes as
// well, (local rank) mod (devices).
std::unique_ptr<PerfDevice> make_device(hfr_device_t kind, hfr_comm_t comm);

// Repeats the pattern over `bytes` of the device's memory.
void fill(PerfDevice& device, void* buffer, size_t bytes, const std::vector<std::byte>& pattern);

// count_wrong of perf_values.hpp, of the device's memory.
size_t count_wrong_on(PerfDevice& device, const void* buffer, size_t bytes, hfr_dtype_t dtype,
                      hfr_op_t op, const std::vector<std::byte>& pattern);

}  // namespace hfr::tools
