// Streaming or cached stores for a result that is read next: chunk by chunk, inputs that come from
// memory are added into one of a few result slots, as lanes do, and the slot is then copied out, as
// a socket's send or another rank's copy-out does, or left. One thread does both.
//
// Repetitions are interleaved at random; rates count the bytes of all inputs.
#include <CLI/CLI.hpp>
#include <cstdio>

#include "arena.hpp"
#include "cpu/copy.hpp"
#include "cpu/reduce.hpp"
#include "report.hpp"

namespace hfr_bench {
namespace {

constexpr size_t kInputBytes = size_t{512} << 20;
constexpr size_t kChunks[] = {size_t{64} << 10, size_t{256} << 10, size_t{1} << 20,
                              size_t{4} << 20};
constexpr size_t kNumSlots = 4;

struct Options {
  int inputs = 8;
  std::string type = "float32";
  size_t skew = 0;  // how far inputs lie from a power of two apart
  double seconds = 0.05;
  int repetitions = 7;
};

std::string name(size_t chunk, bool read, bool streaming) {
  return std::to_string(chunk) + (read ? " read" : " left") +
         (streaming ? " streaming" : " cached");
}

class Handover {
 public:
  explicit Handover(const Options& options)
      : options_(options),
        inputs_(kInputBytes + static_cast<size_t>(options.inputs) * options.skew),
        slots_(kNumSlots * kChunks[3]),
        out_(kInputBytes / static_cast<size_t>(options.inputs)) {}

  void run() {
    for (size_t chunk : kChunks) {
      for (bool read : {false, true}) {
        for (bool streaming : {false, true}) add(chunk, read, streaming);
      }
    }
    benchmark::RunSpecifiedBenchmarks(&collector_);
    std::printf("%d inputs of %s, skew %zu, median of %d, quartiles in brackets\n", options_.inputs,
                options_.type.c_str(), options_.skew, options_.repetitions);
    for (size_t chunk : kChunks) {
      for (bool read : {false, true}) {
        double cached = 0;
        for (bool streaming : {false, true}) {
          const Collector::Rate rate = collector_.rate(name(chunk, read, streaming));
          std::printf("  chunk %4zu KiB, result %s  %-9s %6.2f GB/s [%.2f, %.2f]", chunk >> 10,
                      read ? "copied out" : "left      ", streaming ? "streaming" : "cached",
                      rate.median / 1e9, rate.low / 1e9, rate.high / 1e9);
          if (streaming) std::printf("  %.2f of cached", rate.median / cached);
          std::printf("\n");
          cached = rate.median;
        }
      }
    }
  }

 private:
  hfr::DType parse_type() const {
    for (int t = 0; t < hfr::kNumDTypes; ++t) {
      if (options_.type == hfr::dtype_name(static_cast<hfr::DType>(t))) {
        return static_cast<hfr::DType>(t);
      }
    }
    std::fprintf(stderr, "unknown type %s\n", options_.type.c_str());
    std::exit(2);
  }

  void add(size_t chunk, bool read, bool streaming) {
    const hfr::DType dtype = parse_type();
    const hfr::KernelTable& kernels = *hfr::supported_kernel_tables().back();
    const auto kernel = kernels.reduce[static_cast<int>(dtype)][static_cast<int>(hfr::Op::kSum)];
    benchmark::RegisterBenchmark(
        name(chunk, read, streaming).c_str(),
        [=, this](benchmark::State& state) {
          const auto num = static_cast<size_t>(options_.inputs);
          const size_t bytes_each = kInputBytes / num;
          size_t offset = 0;
          size_t slot = 0;
          for (auto _ : state) {
            if (offset + chunk > bytes_each) offset = 0;
            std::vector<void*> srcs = inputs_.arrays(num, bytes_each + options_.skew);
            for (void*& src : srcs) src = static_cast<char*>(src) + offset;
            void* dst = slots_.arrays(kNumSlots, chunk)[slot];
            hfr::ReduceArgs args;
            args.dsts = &dst;
            args.num_dsts = 1;
            args.srcs = srcs.data();
            args.num_srcs = options_.inputs;
            args.count = chunk / hfr::dtype_size(dtype);
            args.streaming = streaming;
            kernel(args);
            if (read) {
              hfr::copy_bytes(static_cast<char*>(out_.arrays(1, bytes_each)[0]) + offset, dst,
                              chunk, true);
            }
            offset += chunk;
            slot = (slot + 1) % kNumSlots;
          }
          state.SetBytesProcessed(state.iterations() * static_cast<int64_t>(num * chunk));
        })
        ->MinTime(options_.seconds)
        ->Repetitions(options_.repetitions);
  }

  const Options options_;
  const Arena inputs_;
  const Arena slots_;
  const Arena out_;
  Collector collector_;
};

int run(int argc, char** argv) {
  Options options;
  CLI::App app("Times adding into slots that are read next, with streaming and cached stores.");
  app.add_option("--inputs", options.inputs, "number of inputs")->check(CLI::Range(1, 18));
  app.add_option("--type", options.type, "element type");
  app.add_option("--skew", options.skew, "bytes, how far inputs lie from a power of two apart");
  app.add_option("--seconds", options.seconds, "of each repetition");
  app.add_option("--repetitions", options.repetitions);
  CLI11_PARSE(app, argc, argv);
  std::string program = argv[0];
  std::string interleave = "--benchmark_enable_random_interleaving=true";
  char* arguments[] = {program.data(), interleave.data(), nullptr};
  int num_arguments = 2;
  benchmark::Initialize(&num_arguments, arguments);
  Handover(options).run();
  return 0;
}

}  // namespace
}  // namespace hfr_bench

int main(int argc, char** argv) { return hfr_bench::run(argc, argv); }
