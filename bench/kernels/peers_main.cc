// a += b in HFReduce and in other libraries' adders, on the same arrays, in one run: Gloo's sum,
// Open MPI's MPI_Reduce_local and UCC's executor for CPUs. Types that a library has not are left
// out.
#include <benchmark/benchmark.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <functional>

#include "arena.hpp"
#include "cpu/reduce.hpp"
#include "report.hpp"

#if defined(HFR_HAVE_GLOO)
#include <gloo/math.h>
#include <gloo/types.h>
#endif
#if defined(HFR_HAVE_OPENMPI)
#include <mpi.h>
#endif
#if defined(HFR_HAVE_UCC)
#include "peers_ucc.h"
#endif

namespace hfr_bench {
namespace {

using hfr::DType;
using Adder = std::function<void(void* a, const void* b, size_t count)>;

struct Library {
  const char* name;
  Adder (*adder)(DType dtype);  // empty: it has none
};

Adder hfreduce_adder(DType dtype) {
  const auto tables = hfr::supported_kernel_tables();
  const auto kernel =
      tables.back()->reduce[static_cast<int>(dtype)][static_cast<int>(hfr::Op::kSum)];
  return [kernel](void* a, const void* b, size_t count) {
    const void* srcs[] = {a, b};
    hfr::ReduceArgs args;
    args.dsts = &a;
    args.num_dsts = 1;
    args.srcs = srcs;
    args.num_srcs = 2;
    args.count = count;
    kernel(args);
  };
}

#if defined(HFR_HAVE_GLOO)
template <typename T>
Adder gloo_sum() {
  return [](void* a, const void* b, size_t count) {
    gloo::sum<T>(static_cast<T*>(a), static_cast<const T*>(b), count);
  };
}
Adder gloo_adder(DType dtype) {
  switch (dtype) {
    case DType::kInt8:
      return gloo_sum<int8_t>();
    case DType::kInt32:
      return gloo_sum<int32_t>();
    case DType::kInt64:
      return gloo_sum<int64_t>();
    case DType::kFloat16:
      return gloo_sum<gloo::float16>();
    case DType::kFloat32:
      return gloo_sum<float>();
    case DType::kFloat64:
      return gloo_sum<double>();
    default:
      return {};
  }
}
#endif

#if defined(HFR_HAVE_OPENMPI)
Adder openmpi_adder(DType dtype) {
  MPI_Datatype type;
  switch (dtype) {
    case DType::kInt8:
      type = MPI_INT8_T;
      break;
    case DType::kInt16:
      type = MPI_INT16_T;
      break;
    case DType::kInt32:
      type = MPI_INT32_T;
      break;
    case DType::kInt64:
      type = MPI_INT64_T;
      break;
    case DType::kFloat32:
      type = MPI_FLOAT;
      break;
    case DType::kFloat64:
      type = MPI_DOUBLE;
      break;
    default:
      return {};
  }
  return [type](void* a, const void* b, size_t count) {
    MPI_Reduce_local(b, a, static_cast<int>(count), type, MPI_SUM);
  };
}
#endif

#if defined(HFR_HAVE_UCC)
Adder ucc_adder(DType dtype) {
  static const bool started = hfr_bench_ucc_start() == 1;
  if (!started) return {};
  ucc_sum_type type;
  switch (dtype) {
    case DType::kInt8:
      type = UCC_SUM_INT8;
      break;
    case DType::kInt16:
      type = UCC_SUM_INT16;
      break;
    case DType::kInt32:
      type = UCC_SUM_INT32;
      break;
    case DType::kInt64:
      type = UCC_SUM_INT64;
      break;
    case DType::kBFloat16:
      type = UCC_SUM_BFLOAT16;
      break;
    case DType::kFloat32:
      type = UCC_SUM_FLOAT32;
      break;
    case DType::kFloat64:
      type = UCC_SUM_FLOAT64;
      break;
    default:
      return {};
  }
  return [type](void* a, const void* b, size_t count) { hfr_bench_ucc_sum(type, a, b, count); };
}
#endif

constexpr Library kLibraries[] = {
    {"HFReduce", hfreduce_adder},
#if defined(HFR_HAVE_GLOO)
    {"Gloo", gloo_adder},
#endif
#if defined(HFR_HAVE_OPENMPI)
    {"Open MPI", openmpi_adder},
#endif
#if defined(HFR_HAVE_UCC)
    {"UCC", ucc_adder},
#endif
};

struct Place {
  const char* name;
  size_t bytes;  // of each of the two arrays
};
constexpr Place kPlaces[] = {
    {"4 KiB", size_t{4} << 10}, {"128 KiB", size_t{128} << 10}, {"256 MiB", size_t{256} << 20}};

std::string name(const Place& place, DType dtype, const Library& library) {
  return std::string(place.name) + " " + hfr::dtype_name(dtype) + " " + library.name;
}

struct Options {
  std::vector<std::string> types = {"int8",    "int16",    "int32",   "int64",
                                    "float16", "bfloat16", "float32", "float64"};
  size_t largest_kib = 256 << 10;
  int repetitions = 9;

  // The places and types that are asked for.
  template <typename Body>
  void for_each(Body body) const {
    for (const Place& place : kPlaces) {
      if (place.bytes > largest_kib << 10) continue;
      for (int t = 0; t < hfr::kNumDTypes; ++t) {
        const auto dtype = static_cast<DType>(t);
        const bool asked =
            std::find(types.begin(), types.end(), hfr::dtype_name(dtype)) != types.end();
        if (asked) body(place, dtype);
      }
    }
  }
};

void add_benchmarks(const Options& options, const Arena& arena) {
  options.for_each([&](const Place& place, DType dtype) {
    for (const Library& library : kLibraries) {
      Adder adder = library.adder(dtype);
      if (!adder) continue;
      const auto arrays = arena.arrays(2, place.bytes);
      const size_t bytes = place.bytes;
      const size_t count = bytes / hfr::dtype_size(dtype);
      benchmark::RegisterBenchmark(
          name(place, dtype, library).c_str(),
          [=, &arena](benchmark::State& state) {
            // Sums of one type are any bits in another, NaN among them.
            arena.fill(2 * bytes);
            for (auto _ : state) adder(arrays[0], arrays[1], count);
            state.SetBytesProcessed(state.iterations() * static_cast<int64_t>(3 * bytes));
          })
          ->MinTime(0.05)
          ->Repetitions(options.repetitions);
    }
  });
}

void print(const Options& options, const Collector& collector) {
  std::printf("a += b, one thread, bytes read and written a second, median of %d, quartiles\n",
              options.repetitions);
  options.for_each([&](const Place& place, DType dtype) {
    const double ours = collector.rate(name(place, dtype, kLibraries[0])).median;
    for (const Library& library : kLibraries) {
      const auto rate = collector.rate(name(place, dtype, library));
      if (rate.median == 0) continue;
      std::printf("  %-8s %-9s %-9s %7.2f GB/s [%.2f, %.2f]", place.name, hfr::dtype_name(dtype),
                  library.name, rate.median / 1e9, rate.low / 1e9, rate.high / 1e9);
      if (rate.median != ours) std::printf("  HFReduce is %.2f times that", ours / rate.median);
      std::printf("\n");
    }
  });
}

int run(int argc, char** argv) {
  Options options;
  CLI::App app("Times a += b in HFReduce and in other libraries.");
  app.add_option("--types", options.types, "element types")->delimiter(',');
  app.add_option("--largest-kib", options.largest_kib, "leaves out larger arrays");
  app.add_option("--repetitions", options.repetitions);
  CLI11_PARSE(app, argc, argv);
#if defined(HFR_HAVE_OPENMPI)
  MPI_Init(&argc, &argv);
#endif
  std::string program = argc > 0 ? argv[0] : "";
  std::string interleave = "--benchmark_enable_random_interleaving=true";
  char* arguments[] = {program.data(), interleave.data(), nullptr};
  int num_arguments = 2;
  benchmark::Initialize(&num_arguments, arguments);
  const Arena arena(2 * kPlaces[2].bytes);
  add_benchmarks(options, arena);
  Collector collector;
  benchmark::RunSpecifiedBenchmarks(&collector);
  print(options, collector);
#if defined(HFR_HAVE_OPENMPI)
  MPI_Finalize();
#endif
  return 0;
}

}  // namespace
}  // namespace hfr_bench

int main(int argc, char** argv) { return hfr_bench::run(argc, argv); }
