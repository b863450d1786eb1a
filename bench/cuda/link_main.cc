// cuda_link: what of the two-way copy limit is left once copies come in batches with counters, once
// threads add what was copied in, and once copies out wait for the adds: the pipeline of
// docs/cuda.md, one thing after the other, without fill and drain.
//
// For n ranks a batch is n chunks, copied to a lane of pinned memory that n ranks' staging would
// have; another stream copies n chunks back from a lane's result. Threads add a batch's n chunks
// into its lane's result as soon as the copies' counter says that they are there.
//
//   copies    256 MiB in one copy, each way
//   batches   batches and counters
//   adds      the same, while the threads add; nothing waits for them, so sums are of whatever is
//             there: what is measured is the traffic
//   waits     copies out wait for their add, and copies in for their lane, in the streams: the rate
//             at which the middle half of the batches comes in
#include <CLI/CLI.hpp>
#include <atomic>
#include <cstdio>
#include <string>
#include <thread>
#include <vector>

#include "base/counter.hpp"
#include "cpu/reduce.hpp"
#include "gpu.hpp"

namespace hfr_bench {
namespace {

constexpr size_t kMiB = size_t{1} << 20;
constexpr size_t kLeastBatches = 4;

struct Shape {
  int num_ranks;
  size_t chunk_bytes;
  size_t window;
  int num_threads;
  size_t num_streams;  // each way, which batches take in turn
};

enum class Load { kBatches, kAdds, kWaits };

class Link {
 public:
  Link(const Gpu& gpu, const Shape& shape) : gpu_(gpu), shape_(shape) {
    for (size_t i = 0; i < 2 * shape.num_streams; ++i) streams_.push_back(gpu.make_stream());
    inputs_ = static_cast<std::byte*>(gpu.allocate_pinned(shape.window * batch_bytes()));
    results_ = static_cast<std::byte*>(gpu.allocate_pinned(shape.window * shape.chunk_bytes));
    device_ = gpu.allocate(2 * batch_bytes());
    counters_ = new (gpu.allocate_pinned((2 * shape.num_streams + 1) * sizeof(hfr::Counter)))
        hfr::Counter[2 * shape.num_streams + 1];
    added_ = &counters_[2 * shape.num_streams];
  }

  // GB/s each way of `num_batches` batches.
  double measure(size_t num_batches, Load load) {
    for (size_t i = 0; i <= 2 * shape_.num_streams; ++i) counters_[i].store(0);
    parts_left_ = std::vector<std::atomic<int>>(num_batches);
    for (std::atomic<int>& parts : parts_left_) parts = shape_.num_threads;
    came_s_.assign(num_batches, 0);
    std::vector<std::thread> threads;
    for (int t = 0; load != Load::kBatches && t < shape_.num_threads; ++t) {
      threads.emplace_back([this, t, num_batches] { add(t, num_batches); });
    }
    const double start = now_s();
    for (size_t k = 0; k < num_batches; ++k) {
      std::byte* lane = inputs_ + k % shape_.window * batch_bytes();
      const std::byte* result = results_ + k % shape_.window * shape_.chunk_bytes;
      std::vector<CUdeviceptr> hosts, results, ins, outs;
      for (int r = 0; r < shape_.num_ranks; ++r) {
        const size_t offset = static_cast<size_t>(r) * shape_.chunk_bytes;
        hosts.push_back(reinterpret_cast<CUdeviceptr>(lane + offset));
        results.push_back(reinterpret_cast<CUdeviceptr>(result));
        ins.push_back(device_ + offset);
        outs.push_back(device_ + batch_bytes() + offset);
      }
      const size_t turn = 2 * (k % shape_.num_streams);
      if (load == Load::kWaits && k >= shape_.window) {
        const size_t before = k - shape_.window;
        wait(turn, counters_[2 * (before % shape_.num_streams) + 1], before + 1);
      }
      batch(turn, hosts, ins, k + 1);
      if (load == Load::kWaits) wait(turn + 1, *added_, k + 1);
      batch(turn + 1, outs, results, k + 1);
    }
    for (CUstream stream : streams_) gpu_.synchronize(stream);
    const double seconds = now_s() - start;
    for (std::thread& thread : threads) thread.join();
    if (load != Load::kWaits)
      return static_cast<double>(num_batches * batch_bytes()) / seconds / 1e9;
    const size_t first = num_batches / 4, last = 3 * num_batches / 4;
    return static_cast<double>((last - first) * batch_bytes()) / (came_s_[last] - came_s_[first]) /
           1e9;
  }

 private:
  size_t batch_bytes() const { return static_cast<size_t>(shape_.num_ranks) * shape_.chunk_bytes; }

  void batch(size_t which, std::vector<CUdeviceptr>& dsts, std::vector<CUdeviceptr>& srcs,
             uint64_t value) {
    CUstream stream = streams_[which];
    std::vector<size_t> sizes(dsts.size(), shape_.chunk_bytes);
    CUmemcpyAttributes attributes{};
    attributes.srcAccessOrder = CU_MEMCPY_SRC_ACCESS_ORDER_STREAM;
    size_t first = 0;
    gpu_.check(gpu_.driver().cuMemcpyBatchAsync(dsts.data(), srcs.data(), sizes.data(), dsts.size(),
                                                &attributes, &first, 1, stream),
               "cuMemcpyBatchAsync");
    gpu_.check(gpu_.driver().cuStreamWriteValue64(
                   stream, reinterpret_cast<CUdeviceptr>(&counters_[which].value), value,
                   CU_STREAM_WRITE_VALUE_DEFAULT),
               "cuStreamWriteValue64");
  }

  void wait(size_t which, const hfr::Counter& counter, uint64_t value) {
    gpu_.check(gpu_.driver().cuStreamWaitValue64(streams_[which],
                                                 reinterpret_cast<CUdeviceptr>(&counter.value),
                                                 value, CU_STREAM_WAIT_VALUE_GEQ),
               "cuStreamWaitValue64");
  }

  // Thread `t`'s part of each batch's add.
  void add(int t, size_t num_batches) {
    const hfr::KernelTable& kernels = *hfr::supported_kernel_tables().back();
    const size_t part = shape_.chunk_bytes / static_cast<size_t>(shape_.num_threads) / 64 * 64;
    const size_t offset = static_cast<size_t>(t) * part;
    for (size_t k = 0; k < num_batches; ++k) {
      while (counters_[2 * (k % shape_.num_streams)].load() <= k) {
      }
      if (t == 0) came_s_[k] = now_s();
      const std::byte* lane = inputs_ + k % shape_.window * batch_bytes();
      void* dst = results_ + k % shape_.window * shape_.chunk_bytes + offset;
      std::vector<const void*> srcs;
      for (int r = 0; r < shape_.num_ranks; ++r)
        srcs.push_back(lane + static_cast<size_t>(r) * shape_.chunk_bytes + offset);
      hfr::ReduceArgs args;
      args.dsts = &dst;
      args.num_dsts = 1;
      args.srcs = srcs.data();
      args.num_srcs = shape_.num_ranks;
      args.count = part / sizeof(float);
      args.streaming = true;
      kernels.reduce[static_cast<int>(hfr::DType::kFloat32)][static_cast<int>(hfr::Op::kSum)](args);
      if (parts_left_[k].fetch_sub(1) == 1) added_->store(k + 1);
    }
  }

  const Gpu& gpu_;
  const Shape shape_;
  std::vector<CUstream> streams_;
  std::byte* inputs_ = nullptr;
  std::byte* results_ = nullptr;
  CUdeviceptr device_ = 0;
  hfr::Counter* counters_ = nullptr;          // of each stream, and one more:
  hfr::Counter* added_ = nullptr;             // batches that the threads have added
  std::vector<std::atomic<int>> parts_left_;  // of each batch's add
  std::vector<double> came_s_;                // when each batch had come in
};

void run(const std::vector<int>& ranks, size_t mib, size_t num_streams, int rounds) {
  const Gpu gpu;
  if (gpu.driver().cuMemcpyBatchAsync == nullptr)
    throw std::runtime_error("the driver has no cuMemcpyBatchAsync: it takes one of CUDA 13");
  const TwoWayLimit limit(gpu);
  std::printf("# %s; GB/s each way, medians, and their ratio to copies\n", gpu.name().c_str());
  std::printf("# %5s %9s %7s %9s %9s %6s %9s %6s %9s %6s\n", "ranks", "chunk", "threads", "copies",
              "batches", "ratio", "adds", "ratio", "waits", "ratio");
  for (int num_ranks : ranks) {
    // As src/comm/sizing.cc and setup.cc choose on a machine with 16 CPUs.
    const bool many = num_ranks > 4;
    const Shape shape{num_ranks, many ? 2 * kMiB : 4 * kMiB,
                      many ? 3 * static_cast<size_t>(num_ranks) : 8,
                      num_ranks * std::clamp(16 / num_ranks - 1, 1, 4), num_streams};
    const size_t num_batches = mib * kMiB / shape.chunk_bytes;
    if (num_batches < kLeastBatches) {
      throw std::runtime_error("--mib: at least " +
                               std::to_string(kLeastBatches * shape.chunk_bytes / kMiB) + " with " +
                               std::to_string(num_ranks) + " ranks, so that batches have a middle");
    }
    Link link(gpu, shape);
    std::vector<double> copies, batches, adds, waits;
    for (int round = 0; round < rounds; ++round) {
      copies.push_back(limit.measure());
      batches.push_back(link.measure(num_batches, Load::kBatches));
      adds.push_back(link.measure(num_batches, Load::kAdds));
      waits.push_back(link.measure(num_batches, Load::kWaits));
    }
    auto median = [](std::vector<double>& values) {
      std::sort(values.begin(), values.end());
      return values[values.size() / 2];
    };
    const double most = median(copies), batched = median(batches), added = median(adds),
                 waited = median(waits);
    std::printf("%7d %9zu %7d %9.1f %9.1f %6.3f %9.1f %6.3f %9.1f %6.3f\n", num_ranks,
                shape.chunk_bytes, shape.num_threads, most, batched, batched / most, added,
                added / most, waited, waited / most);
    std::fflush(stdout);
  }
}

}  // namespace
}  // namespace hfr_bench

int main(int argc, char** argv) {
  std::vector<int> ranks = {2, 4, 8};
  size_t mib = 256;
  size_t streams = 1;
  int rounds = 5;
  CLI::App app("What batches, counters, adding threads and waits leave of the two-way copy limit");
  app.add_option("--ranks", ranks, "numbers of ranks")->delimiter(',');
  app.add_option("--mib", mib, "of each rank")->check(CLI::PositiveNumber);
  app.add_option("--streams", streams, "each way, in turn")->check(CLI::PositiveNumber);
  app.add_option("--rounds", rounds, "whose median counts")->check(CLI::PositiveNumber);
  CLI11_PARSE(app, argc, argv);
  try {
    hfr_bench::run(ranks, mib, streams, rounds);
    return 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "cuda_link: %s\n", error.what());
    return 1;
  }
}
