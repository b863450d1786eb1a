// cuda_latency: what a small all-reduce of GPU memory takes, by size and by kind of call.
//
// Ranks are processes that share GPU 0 (start MPS for figures that mean anything), or threads with
// --threads. Each line is rank 0's median over single operations, in microseconds:
//
//   blocking   no stream: the call
//   stream     the call and the stream's end
//   train      calls back to back, then the stream's end; per call
//   graph      a graph of one operation: the launch and the stream's end
//   replays    launches back to back, then the stream's end; per launch
#include <dlfcn.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstring>
#include <new>
#include <thread>

#include "gpu.hpp"
#include "hfreduce/hfreduce.h"

namespace hfr_bench {
namespace {

struct Options {
  std::vector<int> ranks = {2, 4, 8};
  std::vector<size_t> sizes = {8, 64, 512, 4096, 16384, 32768, 65536, 131072};
  int iterations = 300;
  int warmups = 30;
  int train = 50;
  bool threads = false;
  bool graphs = true;
};

// All ranks come here, then go on; ranks are threads or processes.
struct Meeting {
  std::atomic<int> come{0};
  std::atomic<int> failed{0};
  void meet(int num_ranks) {
    const int round = come.fetch_add(1) / num_ranks;
    while (come.load() / num_ranks == round && failed.load() == 0) {
    }
  }
};

void check(hfr_comm_t comm, hfr_status_t status) {
  if (status != HFR_SUCCESS) throw std::runtime_error(hfr_get_last_error(comm));
}

template <typename Function>
Function* load(const char* name) {
  void* handle = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
  auto* function = reinterpret_cast<Function*>(dlsym(handle, name));
  if (function == nullptr) throw std::runtime_error(name);
  return function;
}

class Rank {
 public:
  Rank(const Options& options, const Gpu& gpu, hfr_comm_t comm, Meeting& meeting, int num_ranks)
      : options_(options),
        gpu_(gpu),
        comm_(comm),
        meeting_(meeting),
        num_ranks_(num_ranks),
        stream_(gpu.make_stream()),
        memory_(gpu.allocate(options.sizes.back() + 4096)) {}

  void run(bool prints) {
    for (size_t bytes : options_.sizes) {
      auto call = [&](CUstream stream) {
        check(comm_, hfr_all_reduce(data(), data(), bytes / 4, HFR_FLOAT32, HFR_SUM, comm_, stream,
                                    nullptr));
      };
      std::vector<double> us;
      us.push_back(median(1, false, [&] { call(nullptr); }));
      us.push_back(median(1, true, [&] { call(stream_); }));
      us.push_back(median(options_.train, true, [&] { call(stream_); }));
      results_.push_back({bytes, us});
    }
    if (options_.graphs) run_graphs();
    if (!prints) return;
    for (const Result& result : results_) {
      std::printf("%7d %9zu", num_ranks_, result.bytes);
      for (double us : result.us) std::printf(" %9.1f", us);
      std::printf("\n");
    }
    std::fflush(stdout);
  }

 private:
  struct Result {
    size_t bytes;
    std::vector<double> us;
  };
  void* data() const { return reinterpret_cast<void*>(memory_); }

  // After all others, as calls are slower once something was captured.
  void run_graphs() {
    auto* begin = load<decltype(::cuStreamBeginCapture)>("cuStreamBeginCapture_v2");
    auto* end = load<decltype(::cuStreamEndCapture)>("cuStreamEndCapture");
    for (Result& result : results_) {
      CUgraph graph = nullptr;
      CUgraphExec runs = nullptr;
      gpu_.check(begin(stream_, CU_STREAM_CAPTURE_MODE_THREAD_LOCAL), "cuStreamBeginCapture");
      check(comm_, hfr_all_reduce(data(), data(), result.bytes / 4, HFR_FLOAT32, HFR_SUM, comm_,
                                  stream_, nullptr));
      gpu_.check(end(stream_, &graph), "cuStreamEndCapture");
      gpu_.check(gpu_.driver().cuGraphInstantiateWithFlags(&runs, graph, 0), "cuGraphInstantiate");
      auto launch = [&] {
        gpu_.check(gpu_.driver().cuGraphLaunch(runs, stream_), "cuGraphLaunch");
      };
      result.us.push_back(median(1, true, launch));
      result.us.push_back(median(options_.train, true, launch));
      gpu_.driver().cuGraphExecDestroy(runs);
      gpu_.driver().cuGraphDestroy(graph);
    }
  }

  template <typename Body>
  double median(int repeats, bool in_stream, Body&& body) {
    std::vector<double> times;
    meeting_.meet(num_ranks_);
    for (int i = 0; i < options_.warmups + options_.iterations; ++i) {
      const double start = now_s();
      for (int k = 0; k < repeats; ++k) body();
      if (in_stream) gpu_.synchronize(stream_);
      if (i >= options_.warmups) times.push_back((now_s() - start) * 1e6 / repeats);
      if (repeats > 1 && i >= options_.warmups + options_.iterations / 10) break;
    }
    std::sort(times.begin(), times.end());
    return times[times.size() / 2];
  }

  const Options& options_;
  const Gpu& gpu_;
  hfr_comm_t comm_;
  Meeting& meeting_;
  const int num_ranks_;
  CUstream stream_;
  CUdeviceptr memory_;
  std::vector<Result> results_;
};

void run_rank(const Options& options, const hfr_unique_id_t& id, Meeting& meeting, int rank,
              int num_ranks) {
  try {
    const Gpu gpu;
    hfr_comm_options_t init = HFR_COMM_OPTIONS_INIT;
    init.device = HFR_DEVICE_CUDA;
    init.timeout_ms = 10'000;
    hfr_comm_t comm = nullptr;
    check(nullptr, hfr_comm_init_rank(&comm, num_ranks, &id, rank, &init));
    Rank(options, gpu, comm, meeting, num_ranks).run(rank == 0);
    hfr_comm_finalize(comm);
    hfr_comm_destroy(comm);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "cuda_latency: rank %d: %s\n", rank, error.what());
    meeting.failed = 1;
  }
}

// The parent of processes must not touch the GPU: a driver does not survive a fork.
bool measure(const Options& options, int num_ranks) {
  void* shared =
      mmap(nullptr, sizeof(Meeting), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  auto* meeting = new (shared) Meeting;
  hfr_unique_id_t id;
  if (options.threads) {
    check(nullptr, hfr_get_unique_id(&id));
    std::vector<std::thread> threads;
    for (int rank = 0; rank < num_ranks; ++rank) {
      threads.emplace_back([&, rank] { run_rank(options, id, *meeting, rank, num_ranks); });
    }
    for (std::thread& thread : threads) thread.join();
    return meeting->failed == 0;
  }
  int ids[2];
  if (pipe(ids) != 0) throw std::runtime_error("pipe");
  for (int rank = 0; rank < num_ranks; ++rank) {
    if (fork() != 0) continue;
    if (rank == 0) {
      check(nullptr, hfr_get_unique_id(&id));
      for (int i = 1; i < num_ranks; ++i) {
        if (write(ids[1], &id, sizeof(id)) != sizeof(id)) _exit(3);
      }
    } else if (read(ids[0], &id, sizeof(id)) != sizeof(id)) {
      _exit(3);
    }
    run_rank(options, id, *meeting, rank, num_ranks);
    _exit(0);
  }
  close(ids[0]);
  close(ids[1]);
  while (wait(nullptr) > 0) {
  }
  return meeting->failed == 0;
}

int run(const Options& options) {
  std::printf("# %5s %9s %9s %9s %9s %9s %9s   (us)\n", "ranks", "bytes", "blocking", "stream",
              "train", "graph", "replays");
  std::fflush(stdout);
  for (int num_ranks : options.ranks) {
    if (!measure(options, num_ranks)) return 1;
  }
  return 0;
}

}  // namespace
}  // namespace hfr_bench

int main(int argc, char** argv) {
  hfr_bench::Options options;
  CLI::App app("Latency of small all-reduces of GPU memory");
  app.add_option("--ranks", options.ranks, "numbers of ranks")->delimiter(',');
  app.add_option("--bytes", options.sizes, "sizes, the largest last")->delimiter(',');
  app.add_option("-n", options.iterations, "timed operations")->check(CLI::PositiveNumber);
  app.add_option("-w", options.warmups, "operations before them");
  app.add_option("--train", options.train, "operations back to back")->check(CLI::PositiveNumber);
  app.add_flag("--threads", options.threads, "ranks are threads");
  app.add_flag("!--no-graphs", options.graphs, "without graphs");
  CLI11_PARSE(app, argc, argv);
  try {
    return hfr_bench::run(options);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "cuda_latency: %s\n", error.what());
    return 1;
  }
}
