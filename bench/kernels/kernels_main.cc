// The adding kernels beside what the machine can move, in one run: past the caches with streaming
// stores, and inside the second-level cache.
//
// Every repetition of every line is interleaved at random with the others, so that a slow minute
// hits them alike; ratios are of medians. Rates count the bytes of all inputs and of the result.
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cstdio>

#include "arena.hpp"
#include "cpu/reduce.hpp"
#include "limits.hpp"
#include "report.hpp"

namespace hfr_bench {
namespace {

using hfr::DType;

struct Options {
  int threads = 1;
  std::string isa = "auto";
  size_t total_mib = 1024;  // of all threads' arrays, out of cache
  size_t l2_kib = 0;
  std::vector<int> inputs = {2, 4, 8};
  std::vector<std::string> types = {"float32", "bfloat16", "float16", "float8_e4m3", "float8_e5m2"};
  std::string op = "sum";
  std::string where = "both";
  double seconds = 0.1;
  int repetitions = 7;
};

DType parse_type(const std::string& name) {
  for (int t = 0; t < hfr::kNumDTypes; ++t) {
    if (name == hfr::dtype_name(static_cast<DType>(t))) return static_cast<DType>(t);
  }
  std::fprintf(stderr, "unknown type %s\n", name.c_str());
  std::exit(2);
}

hfr::Op parse_op(const std::string& name) {
  for (int o = 0; o < hfr::kNumOps; ++o) {
    if (static_cast<hfr::Op>(o) == hfr::Op::kPremulSum) continue;  // needs scales
    if (name == hfr::op_name(static_cast<hfr::Op>(o))) return static_cast<hfr::Op>(o);
  }
  std::fprintf(stderr, "unknown operation %s\n", name.c_str());
  std::exit(2);
}

// One place in the memory hierarchy.
struct Place {
  std::string name;
  size_t bytes_each;  // of a thread's arrays together
  bool streaming;
};

class Bench {
 public:
  Bench(const Options& options, const hfr::KernelTable& kernels, std::vector<Place> places)
      : options_(options), kernels_(kernels), places_(std::move(places)) {
    size_t most = 0;
    for (const Place& place : places_) most = std::max(most, place.bytes_each);
    sources_ = std::make_unique<Arenas>(options.threads, most);
    results_ = std::make_unique<Arenas>(options.threads, most / 2);
  }

  void run() {
    for (const Place& place : places_) {
      for (int n : options_.inputs) {
        for (const Limit& limit : limits(place)) add_limit(place, n, limit, limit.name);
        for (const std::string& type : options_.types) {
          add_kernel(place, n, type);
          for (const Limit& limit : instructions(place, type)) {
            add_limit(place, n, limit, type + " " + limit.name);
          }
        }
      }
    }
    benchmark::RunSpecifiedBenchmarks(&collector_);
  }

  void print() const {
    std::printf("%s kernels, %s, %d thread(s), median of %d, quartiles in brackets\n",
                kernels_.name, options_.op.c_str(), options_.threads, options_.repetitions);
    for (const Place& place : places_) {
      std::printf("\n%s: %zu KiB of arrays a thread, %s stores\n", place.name.c_str(),
                  place.bytes_each >> 10, place.streaming ? "streaming" : "cached");
      for (int n : options_.inputs) {
        double best = 0;
        for (const Limit& limit : limits(place)) {
          best = std::max(best, print_rate(name(place, n, limit.name), n, limit.name, 0, 0));
        }
        double fp32 = 0;
        for (const std::string& type : options_.types) {
          const double rate = print_rate(name(place, n, type), n, type.c_str(), best, fp32);
          if (type == "float32") fp32 = rate;
          double most = 0;
          for (const Limit& limit : instructions(place, type)) {
            most = std::max(
                most, print_rate(name(place, n, type + " " + limit.name), n, limit.name, 0, fp32));
          }
          if (most > 0) std::printf("%33s %.3f of its instructions\n", type.c_str(), rate / most);
        }
      }
    }
  }

 private:
  static std::span<const Limit> limits(const Place& place) {
    return place.streaming ? streaming_limits() : cached_limits();
  }
  // Past the caches memory is what limits.
  static std::span<const Limit> instructions(const Place& place, const std::string& type) {
    return place.streaming ? std::span<const Limit>() : instruction_limits(parse_type(type));
  }
  static std::string name(const Place& place, int n, const std::string& what) {
    return place.name + " " + std::to_string(n) + " " + what;
  }

  double print_rate(const std::string& key, int n, const char* what, double limit,
                    double fp32) const {
    const Collector::Rate rate = collector_.rate(key);
    std::printf("  %2d inputs  %-18s %7.2f GB/s [%.2f, %.2f]", n, what, rate.median / 1e9,
                rate.low / 1e9, rate.high / 1e9);
    if (limit > 0) std::printf("  %.3f of the limit", rate.median / limit);
    if (fp32 > 0) std::printf("  %.3f of float32", rate.median / fp32);
    std::printf("\n");
    return rate.median;
  }

  template <typename Body>
  void add(const std::string& key, Body body) {
    benchmark::RegisterBenchmark(key.c_str(), body)
        ->Threads(options_.threads)
        ->UseRealTime()
        ->MinTime(options_.seconds)
        ->Repetitions(options_.repetitions);
  }

  void add_limit(const Place& place, int n, const Limit& limit, const std::string& what) {
    const auto num = static_cast<size_t>(n);
    const size_t bytes = Arenas::array_bytes(place.bytes_each, num + 1);
    // A limit that only reads is compared by the bytes that it reads.
    const size_t moved = bytes * (place.streaming ? num + 1 : num);
    add(name(place, n, what), [this, num, n, bytes, moved, limit](benchmark::State& state) {
      const auto srcs = sources_->of(state.thread_index()).arrays(num, bytes);
      void* dst = results_->of(state.thread_index()).arrays(1, bytes)[0];
      for (auto _ : state) limit.run(dst, srcs.data(), n, bytes);
      state.SetBytesProcessed(state.iterations() * static_cast<int64_t>(moved));
    });
  }

  void add_kernel(const Place& place, int n, const std::string& type) {
    const auto num = static_cast<size_t>(n);
    const size_t bytes = Arenas::array_bytes(place.bytes_each, num + 1);
    const DType dtype = parse_type(type);
    const auto kernel =
        kernels_.reduce[static_cast<int>(dtype)][static_cast<int>(parse_op(options_.op))];
    const size_t moved = bytes * (place.streaming ? num + 1 : num);
    const bool streaming = place.streaming;
    add(name(place, n, type), [=, this](benchmark::State& state) {
      const auto srcs = sources_->of(state.thread_index()).arrays(num, bytes);
      const auto dst = results_->of(state.thread_index()).arrays(1, bytes);
      hfr::ReduceArgs args;
      args.dsts = dst.data();
      args.num_dsts = 1;
      args.srcs = srcs.data();
      args.num_srcs = n;
      args.count = bytes / hfr::dtype_size(dtype);
      args.streaming = args.from_memory = streaming;
      for (auto _ : state) kernel(args);
      state.SetBytesProcessed(state.iterations() * static_cast<int64_t>(moved));
    });
  }

  const Options& options_;
  const hfr::KernelTable& kernels_;
  std::vector<Place> places_;
  // Apart, so that no result of one type is read as a source of another.
  std::unique_ptr<Arenas> sources_;
  std::unique_ptr<Arenas> results_;
  Collector collector_;
};

size_t l2_bytes() {
  const long bytes = sysconf(_SC_LEVEL2_CACHE_SIZE);
  return bytes > 0 ? static_cast<size_t>(bytes) : size_t{1} << 20;
}

int run(int argc, char** argv) {
  Options options;
  CLI::App app("Times the adding kernels beside what the machine can move.");
  app.add_option("--threads", options.threads, "threads, each with arrays of its own")
      ->check(CLI::Range(1, 1024));
  app.add_option("--isa", options.isa, "instruction set, as HFREDUCE_ISA");
  app.add_option("--total-mib", options.total_mib, "arrays of all threads, out of cache");
  app.add_option("--l2-kib", options.l2_kib, "arrays of a thread, in cache (half the L2 cache)");
  app.add_option("--inputs", options.inputs, "numbers of inputs")->delimiter(',');
  app.add_option("--types", options.types, "element types")->delimiter(',');
  app.add_option("--op", options.op, "operation");
  app.add_option("--where", options.where, "memory, l2 or both")
      ->check(CLI::IsMember({"memory", "l2", "both"}));
  app.add_option("--seconds", options.seconds, "of each repetition");
  app.add_option("--repetitions", options.repetitions);
  CLI11_PARSE(app, argc, argv);

  auto kernels = hfr::select_kernel_table(options.isa);
  if (!kernels.ok()) {
    std::fprintf(stderr, "%s\n", kernels.status().message().c_str());
    return 2;
  }
  const auto threads = static_cast<size_t>(options.threads);
  std::vector<Place> places;
  if (options.where != "l2") {
    places.push_back({"memory", (options.total_mib << 20) / threads, true});
  }
  if (options.where != "memory") {
    places.push_back({"l2", options.l2_kib > 0 ? options.l2_kib << 10 : l2_bytes() / 2, false});
  }
  std::string program = argv[0];
  std::string interleave = "--benchmark_enable_random_interleaving=true";
  char* arguments[] = {program.data(), interleave.data(), nullptr};
  int num_arguments = 2;
  benchmark::Initialize(&num_arguments, arguments);
  Bench bench(options, **kernels, std::move(places));
  bench.run();
  bench.print();
  return 0;
}

}  // namespace
}  // namespace hfr_bench

int main(int argc, char** argv) { return hfr_bench::run(argc, argv); }
