// cuda_pipeline: all-reduce of GPU memory against what the link allows, in one run.
//
// Ranks are threads that share GPU 0. All their bytes cross the link once each way, so n ranks can
// reach the two-way copy limit divided by n. Prints one line for each size, type and number of
// ranks: median, least and most time of the iterations, algorithm bandwidth, and its ratio to that.
//
// --groups 0,2,4: also with groups of so many ranks (docs/cuda.md), whose bytes cross the link once
// for each group: the limit stays that of none, and link_mb says what crosses each way. The GPU's
// own memory stands in for NVLink.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <barrier>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <thread>

#include "gpu.hpp"
#include "hfreduce/hfreduce.h"

namespace hfr_bench {
namespace {

struct Options {
  std::vector<int> ranks = {2, 4, 8};
  std::vector<int> groups = {0};
  std::vector<std::string> sizes = {"64", "128", "256"};
  std::vector<std::string> types = {"float", "bfloat16"};
  int iterations = 20;
  int warmups = 5;
  bool blocking = false;
  uint32_t timeout_ms = 10'000;
};

void check(hfr_comm_t comm, hfr_status_t status) {
  if (status != HFR_SUCCESS) throw std::runtime_error(hfr_get_last_error(comm));
}

// Every 4 bytes of rank r's input; the value changes with the place, and all sums are exact in both
// types.
uint32_t word(hfr_dtype_t type, size_t place, int scale) {
  const auto number = static_cast<float>(scale) * static_cast<float>(1 + place / 1024 % 3);
  uint32_t bits = 0;
  std::memcpy(&bits, &number, sizeof(bits));
  return type == HFR_BFLOAT16 ? bits >> 16 | (bits & 0xffff0000u) : bits;
}

// One rank's part of a measurement; rank 0's times are kept.
class Rank {
 public:
  Rank(const Gpu& gpu, hfr_comm_t comm, int rank, int num_ranks, size_t bytes, hfr_dtype_t type)
      : gpu_(gpu), comm_(comm), bytes_(bytes), type_(type), stream_(gpu.make_stream()) {
    send_ = gpu.allocate(bytes);
    recv_ = gpu.allocate(bytes);
    host_.resize(bytes / sizeof(uint32_t));
    for (size_t i = 0; i < host_.size(); ++i) host_[i] = word(type, i, rank + 1);
    gpu.check(gpu.driver().cuMemcpyHtoDAsync(send_, host_.data(), bytes, stream_), "upload");
    gpu.synchronize(stream_);
    sum_ = num_ranks * (num_ranks + 1) / 2;
  }
  ~Rank() {
    gpu_.driver().cuMemFree(send_);
    gpu_.driver().cuMemFree(recv_);
    gpu_.driver().cuStreamDestroy(stream_);
  }
  Rank(const Rank&) = delete;
  Rank& operator=(const Rank&) = delete;

  // Waits with hfr_wait, which makes progress: a thread that spins in the driver would take a core
  // from those that work.
  void operate(bool blocking) {
    hfr_request_t request = 0;
    check(comm_, hfr_all_reduce(reinterpret_cast<void*>(send_), reinterpret_cast<void*>(recv_),
                                bytes_ / hfr_dtype_size(type_), type_, HFR_SUM, comm_,
                                blocking ? nullptr : stream_, blocking ? nullptr : &request));
    if (blocking) return;
    check(comm_, hfr_wait(comm_, request));
    gpu_.synchronize(stream_);
  }
  bool is_right() {
    gpu_.check(gpu_.driver().cuMemcpyDtoHAsync(host_.data(), recv_, bytes_, stream_), "download");
    gpu_.synchronize(stream_);
    for (size_t i = 0; i < host_.size(); ++i) {
      if (host_[i] != word(type_, i, sum_)) return false;
    }
    return true;
  }

 private:
  const Gpu& gpu_;
  hfr_comm_t comm_;
  size_t bytes_;
  hfr_dtype_t type_;
  CUstream stream_;
  CUdeviceptr send_ = 0, recv_ = 0;
  std::vector<uint32_t> host_;
  int sum_ = 0;
};

// Seconds of each iteration, from all ranks' start to all ranks' end.
std::vector<double> measure(const Gpu& gpu, const std::vector<hfr_comm_t>& comms, size_t bytes,
                            hfr_dtype_t type, const Options& options) {
  const int num_ranks = static_cast<int>(comms.size());
  std::vector<double> seconds;
  std::barrier together(num_ranks);
  std::vector<std::string> errors(comms.size());
  std::vector<std::thread> threads;
  for (int rank = 0; rank < num_ranks; ++rank) {
    threads.emplace_back([&, rank] {
      const auto me = static_cast<size_t>(rank);
      try {
        gpu.use();
        Rank mine(gpu, comms[me], rank, num_ranks, bytes, type);
        for (int i = 0; i < options.warmups; ++i) mine.operate(options.blocking);
        for (int i = 0; i < options.iterations; ++i) {
          together.arrive_and_wait();
          const double start = now_s();
          mine.operate(options.blocking);
          together.arrive_and_wait();
          if (rank == 0) seconds.push_back(now_s() - start);
        }
        if (!mine.is_right()) errors[me] = "wrong result";
      } catch (const std::exception& error) {
        errors[me] = error.what();
        hfr_comm_abort(comms[me]);
        together.arrive_and_drop();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const std::string& error : errors) {
    if (!error.empty()) throw std::runtime_error(error);
  }
  std::sort(seconds.begin(), seconds.end());
  return seconds;
}

void measure_all(const Gpu& gpu, const TwoWayLimit& limit, int num_ranks, int group,
                 const Options& options) {
  setenv("HFREDUCE_GPU_GROUP", std::to_string(group).c_str(), 1);
  std::vector<hfr_comm_t> comms(static_cast<size_t>(num_ranks));
  hfr_comm_options_t init = HFR_COMM_OPTIONS_INIT;
  init.device = HFR_DEVICE_CUDA;
  init.timeout_ms = options.timeout_ms;
  check(nullptr, hfr_comm_init_all(comms.data(), num_ranks, &init));
  for (const std::string& type : options.types) {
    const hfr_dtype_t dtype = type == "bfloat16" ? HFR_BFLOAT16 : HFR_FLOAT32;
    for (const std::string& size : options.sizes) {
      const size_t bytes = std::stoul(size) << 20;
      const double before = limit.measure();
      const std::vector<double> times = measure(gpu, comms, bytes, dtype, options);
      const double roof = (before + limit.measure()) / 2 / num_ranks;
      const double median = times[times.size() / 2];
      const double bandwidth = static_cast<double>(bytes) / median / 1e9;
      const double crossing = static_cast<double>(bytes) * num_ranks / std::max(group, 1) / 1e6;
      std::printf("%7d %5d %12zu %9s %9.1f %9.1f %9.1f %8.2f %9.2f %6.3f %8.1f\n", num_ranks, group,
                  bytes, type.c_str(), median * 1e6, times.front() * 1e6, times.back() * 1e6,
                  bandwidth, roof, bandwidth / roof, crossing);
      std::fflush(stdout);
    }
  }
  for (hfr_comm_t comm : comms) hfr_comm_destroy(comm);
}

int run(const Options& options) {
  // hfr_comm_init_all would spread the ranks over all GPUs that it sees.
  setenv("CUDA_VISIBLE_DEVICES", "0", 0);
  const Gpu gpu;
  const TwoWayLimit limit(gpu);
  std::printf("# %s\n# %5s %5s %12s %9s %9s %9s %9s %8s %9s %6s %8s\n", gpu.name().c_str(), "ranks",
              "group", "bytes", "type", "median_us", "least_us", "most_us", "algbw", "limit",
              "ratio", "link_mb");
  for (int num_ranks : options.ranks) {
    for (int group : options.groups) {
      if (group <= num_ranks) measure_all(gpu, limit, num_ranks, group, options);
    }
  }
  return 0;
}

}  // namespace
}  // namespace hfr_bench

int main(int argc, char** argv) {
  hfr_bench::Options options;
  CLI::App app("All-reduce of GPU memory against the two-way copy limit");
  app.add_option("--ranks", options.ranks, "numbers of ranks")->delimiter(',');
  app.add_option("--groups", options.groups, "sizes of groups; 0: none")->delimiter(',');
  app.add_option("--mib", options.sizes, "sizes in MiB")->delimiter(',');
  app.add_option("--types", options.types, "float, bfloat16")->delimiter(',');
  app.add_option("-n", options.iterations, "timed iterations")->check(CLI::PositiveNumber);
  app.add_option("-w", options.warmups, "iterations before them");
  app.add_option("--timeout-ms", options.timeout_ms, "deadline of an operation");
  app.add_flag("--blocking", options.blocking, "without streams");
  CLI11_PARSE(app, argc, argv);
  try {
    return hfr_bench::run(options);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "cuda_pipeline: %s\n", error.what());
    return 1;
  }
}
