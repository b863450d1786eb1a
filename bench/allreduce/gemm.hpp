// A stream of matrix products that keeps every multiprocessor of a GPU busy: what an all-reduce
// runs beside in training. bfloat16 with FP32 sums, by cuBLAS, which is loaded at run time.
#ifndef HFREDUCE_BENCH_ALLREDUCE_GEMM_HPP_
#define HFREDUCE_BENCH_ALLREDUCE_GEMM_HPP_

#include <atomic>
#include <chrono>
#include <cstdint>
#include <deque>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "../cuda/gpu.hpp"
#include "late_library.hpp"

namespace hfr_bench {

// What is used of cuBLAS' C interface.
struct Cublas {
  static constexpr int kBfloat16 = 14;    // CUDA_R_16BF
  static constexpr int kSumInFloat = 68;  // CUBLAS_COMPUTE_32F
  static constexpr int kAnyAlgorithm = -1;

  Cublas() {
    LateLibrary library(
        "cuBLAS", {"libcublas.so.13", "libcublas.so.12", "/usr/local/cuda/lib64/libcublas.so.13",
                   "/usr/local/cuda/lib64/libcublas.so.12"});
    library.load(create, "cublasCreate_v2");
    library.load(destroy, "cublasDestroy_v2");
    library.load(set_stream, "cublasSetStream_v2");
    library.load(gemm, "cublasGemmEx");
  }

  int (*create)(void** handle);
  int (*destroy)(void* handle);
  int (*set_stream)(void* handle, CUstream stream);
  int (*gemm)(void* handle, int transpose_a, int transpose_b, int m, int n, int k,
              const void* alpha, const void* a, int type_a, int lda, const void* b, int type_b,
              int ldb, const void* beta, void* c, int type_c, int ldc, int compute, int algorithm);
};

// Products of square matrices of `rows` rows, one after the other. start() and stop() may
// alternate; what a batch of products took is known afterwards.
class GemmStream {
 public:
  GemmStream(const Gpu& gpu, int rows) : gpu_(gpu), rows_(rows), stream_(gpu.make_stream()) {
    check(cublas_.create(&handle_), "cublasCreate");
    check(cublas_.set_stream(handle_, stream_), "cublasSetStream");
    for (CUdeviceptr* matrix : {&a_, &b_, &c_}) *matrix = gpu.allocate(bytes());
    for (CUdeviceptr matrix : {a_, b_}) fill(matrix);
    for (CUevent& event : events_) {
      gpu.check(gpu.driver().cuEventCreate(&event, CU_EVENT_DISABLE_TIMING), "cuEventCreate");
    }
    // The first product loads kernels, which waits for all streams.
    for (int i = 0; i < 2; ++i) multiply();
    gpu.synchronize(stream_);
    const double start = now_s();
    multiply();
    gpu.synchronize(stream_);
    constexpr double kBatch = 0.008;  // seconds
    products_ = std::max(1, static_cast<int>(kBatch / (now_s() - start)));
  }
  ~GemmStream() {
    end();
    cublas_.destroy(handle_);
    for (CUevent event : events_) gpu_.driver().cuEventDestroy(event);
    for (CUdeviceptr matrix : {a_, b_, c_}) gpu_.driver().cuMemFree(matrix);
    gpu_.driver().cuStreamDestroy(stream_);
  }
  GemmStream(const GemmStream&) = delete;
  GemmStream& operator=(const GemmStream&) = delete;

  // Returns when the stream is in its stride.
  void start() {
    ends_.clear();
    stopping_ = false;
    running_ = 0;
    error_.clear();
    thread_ = std::thread([this] {
      try {
        gpu_.use();
        run();
      } catch (const std::exception& error) {
        error_ = error.what();
        running_ = kWarmBatches;
      }
    });
    while (running_ < kWarmBatches) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  void stop() {
    end();
    if (!error_.empty()) throw std::runtime_error(error_);
  }
  // Microseconds of a product, over the batches that began and ended between two moments of the
  // last run (now_s()). Throws when there was none.
  double product_us(double from, double to) const {
    double first = 0;
    double last = 0;
    size_t batches = 0;
    for (double end : ends_) {
      if (end < from || end > to) continue;
      if (first == 0) {
        first = end;
      } else {
        ++batches;
      }
      last = end;
    }
    if (batches == 0) throw std::runtime_error("no batch of matrix products fell into a window");
    return (last - first) / static_cast<double>(batches) / products_ * 1e6;
  }

 private:
  static constexpr int kWarmBatches = 4;
  static constexpr size_t kInFlight = 2;

  void end() {
    stopping_ = true;
    if (thread_.joinable()) thread_.join();
  }

  size_t bytes() const {
    return size_t{2} * static_cast<size_t>(rows_) * static_cast<size_t>(rows_);
  }

  void check(int status, const char* call) const {
    if (status != 0)
      throw std::runtime_error(std::string(call) + " failed: status " + std::to_string(status));
  }

  // Zeros would take less power, and so run faster, than a user's matrices.
  void fill(CUdeviceptr matrix) {
    std::vector<uint16_t> values(std::min<size_t>(bytes() / 2, size_t{1} << 20));
    std::mt19937 random(1);
    for (uint16_t& value : values)
      value = static_cast<uint16_t>(0x3f00 | (random() & 0x80ff));  // 0.5 to 2, both signs
    for (size_t at = 0; at < bytes(); at += values.size() * 2) {
      gpu_.check(
          gpu_.driver().cuMemcpyHtoDAsync(matrix + at, values.data(),
                                          std::min(values.size() * 2, bytes() - at), stream_),
          "upload");
    }
    gpu_.synchronize(stream_);
  }

  void multiply() {
    const float one = 1;
    const float zero = 0;
    auto pointer = [](CUdeviceptr matrix) { return reinterpret_cast<void*>(matrix); };
    check(cublas_.gemm(handle_, 0, 0, rows_, rows_, rows_, &one, pointer(a_), Cublas::kBfloat16,
                       rows_, pointer(b_), Cublas::kBfloat16, rows_, &zero, pointer(c_),
                       Cublas::kBfloat16, rows_, Cublas::kSumInFloat, Cublas::kAnyAlgorithm),
          "cublasGemmEx");
  }

  // Always a batch queued behind the one that runs, so that the GPU never waits for this thread.
  void run() {
    std::deque<CUevent> queued;
    size_t next = 0;
    while (!stopping_ || !queued.empty()) {
      while (!stopping_ && queued.size() < kInFlight) {
        for (int i = 0; i < products_; ++i) multiply();
        CUevent event = events_[next++ % kInFlight];
        gpu_.check(gpu_.driver().cuEventRecord(event, stream_), "cuEventRecord");
        queued.push_back(event);
      }
      const CUresult result = gpu_.driver().cuEventQuery(queued.front());
      if (result == CUDA_ERROR_NOT_READY) {
        std::this_thread::sleep_for(std::chrono::microseconds(20));
        continue;
      }
      gpu_.check(result, "cuEventQuery");
      ends_.push_back(now_s());
      queued.pop_front();
      ++running_;
    }
  }

  Cublas cublas_;
  const Gpu& gpu_;
  const int rows_;
  CUstream stream_;
  void* handle_ = nullptr;
  CUdeviceptr a_ = 0, b_ = 0, c_ = 0;
  CUevent events_[kInFlight] = {};
  int products_ = 1;  // of a batch
  std::thread thread_;
  std::atomic<bool> stopping_{true};
  std::atomic<int> running_{0};  // batches that have ended
  std::vector<double> ends_;     // when; the thread's until stop()
  std::string error_;            // likewise
};

}  // namespace hfr_bench

#endif  // HFREDUCE_BENCH_ALLREDUCE_GEMM_HPP_
