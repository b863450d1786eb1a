// What the libraries that all-reduce GPU memory share: rank r works on GPU r mod (number of GPUs),
// with buffers there and a stream of its own.
#ifndef HFREDUCE_BENCH_ALLREDUCE_GPU_LIBRARY_HPP_
#define HFREDUCE_BENCH_ALLREDUCE_GPU_LIBRARY_HPP_

#include <thread>

#include "../cuda/gpu.hpp"
#include "exchange.hpp"
#include "measure.hpp"

namespace hfr_bench {

class GpuLibrary : public Library {
 public:
  explicit GpuLibrary(const Options& options)
      : exchange_(Exchange::from_env()),
        gpu_(exchange_.rank),
        stream_(gpu_.make_stream()),
        copies_(gpu_.make_stream()),
        scratch_(gpu_.allocate(sizeof(double))) {
    bind_to_cpu(options, exchange_.rank);
  }

  const Gpu& gpu() const { return gpu_; }
  int rank() const final { return exchange_.rank; }
  int num_ranks() const final { return exchange_.num_ranks; }
  bool on_device() const final { return true; }

  void* allocate(size_t bytes) final { return reinterpret_cast<void*>(gpu_.allocate(bytes)); }
  void write(void* buffer, const void* from, size_t bytes) final {
    gpu_.check(gpu_.driver().cuMemcpyHtoDAsync(address(buffer), from, bytes, copies_), "upload");
    gpu_.synchronize(copies_);
  }
  void read(void* to, const void* buffer, size_t bytes) final {
    gpu_.check(gpu_.driver().cuMemcpyDtoHAsync(to, address(buffer), bytes, copies_), "download");
    gpu_.synchronize(copies_);
  }

  double max(double value) final {
    write(reinterpret_cast<void*>(scratch_), &value, sizeof(value));
    reduce_max(reinterpret_cast<void*>(scratch_));
    read(&value, reinterpret_cast<void*>(scratch_), sizeof(value));
    return value;
  }

  // Waits for all ranks without using the GPU or the library.
  void meet() {
    const std::string prefix = "meet." + std::to_string(meetings_++) + ".";
    exchange_.publish(prefix + std::to_string(rank()), "");
    for (int rank = 0; rank < num_ranks(); ++rank)
      exchange_.wait_for(prefix + std::to_string(rank));
  }

 protected:
  const Exchange& exchange() const { return exchange_; }
  CUstream stream() const { return stream_; }
  // All-reduces one double in GPU memory, in place; complete on return.
  virtual void reduce_max(void* value) = 0;

 private:
  static CUdeviceptr address(const void* buffer) { return reinterpret_cast<CUdeviceptr>(buffer); }

  Exchange exchange_;
  Gpu gpu_;
  CUstream stream_;
  CUstream copies_;
  CUdeviceptr scratch_;
  int meetings_ = 0;
};

}  // namespace hfr_bench

#endif  // HFREDUCE_BENCH_ALLREDUCE_GPU_LIBRARY_HPP_
