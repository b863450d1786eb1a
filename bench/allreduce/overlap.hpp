// All-reduces beside matrix products: what each costs the other. And the main() of the GPU
// programs.
//
// On each GPU its first rank also runs a stream of products. Per size and batch: products alone,
// the all-reduces alone, then both, each for about kWindow, one right after the other, so that
// clocks and temperature are the same.
#ifndef HFREDUCE_BENCH_ALLREDUCE_OVERLAP_HPP_
#define HFREDUCE_BENCH_ALLREDUCE_OVERLAP_HPP_

#include "gemm.hpp"
#include "gpu_library.hpp"

namespace hfr_bench {

class Overlap {
 public:
  static constexpr double kWindow = 0.25;  // seconds

  Overlap(GpuLibrary& library, const Options& options)
      : library_(library), options_(options), work_(library, options) {
    if (library.rank() < library.gpu().num_devices())
      gemm_ = std::make_unique<GemmStream>(library.gpu(), options.gemm);
  }

  // Prints `size_bytes gemm_alone_us gemm_beside_us reduce_alone_us reduce_beside_us` for each
  // batch, on rank 0.
  void run(size_t bytes, std::FILE* results) {
    const size_t count = bytes / element_size(options_.dtype);
    work_.reduce_checked(count);
    work_.prepare_batches(count);
    const size_t iterations = work_.warm_up(count, kWindow * 1e6);
    for (int batch = 0; batch < options_.num_batches; ++batch) {
      const double gemm_alone = time_gemm_alone();
      const double reduce_alone = work_.time_batch(count, iterations);
      const auto [gemm_beside, reduce_beside] = time_together(count, iterations);
      if (library_.rank() != 0) continue;
      std::fprintf(results, "%zu %.3f %.3f %.3f %.3f\n", bytes, gemm_alone, gemm_beside,
                   reduce_alone, reduce_beside);
      std::fflush(results);
    }
    work_.reduce_checked(count);
  }

 private:
  double time_gemm_alone() {
    library_.meet();
    double us = 0;
    if (gemm_) {
      gemm_->start();
      const double from = now_s();
      std::this_thread::sleep_for(std::chrono::duration<double>(kWindow));
      const double to = now_s();
      gemm_->stop();
      us = gemm_->product_us(from, to);
    }
    library_.meet();
    return us;
  }

  // Microseconds of a product and of an all-reduce.
  std::pair<double, double> time_together(size_t count, size_t iterations) {
    if (gemm_) gemm_->start();
    library_.meet();
    const double from = now_s();
    const double reduce_us = work_.time_batch(count, iterations);
    const double to = now_s();
    library_.meet();
    if (!gemm_) return {0, reduce_us};
    gemm_->stop();
    return {gemm_->product_us(from, to), reduce_us};
  }

  GpuLibrary& library_;
  const Options& options_;
  Workload work_;
  std::unique_ptr<GemmStream> gemm_;  // on the first rank of each GPU
};

// As measure_main; with --gemm the all-reduces run beside products.
template <typename Connect>
int gpu_main(int argc, char** argv, Connect connect) {
  return measure_main(argc, argv, connect,
                      [](GpuLibrary& library, const Options& options, std::FILE* results) {
                        if (options.gemm == 0) return measure(library, options, results);
                        Overlap overlap(library, options);
                        for (size_t bytes : options.sizes) overlap.run(bytes, results);
                      });
}

}  // namespace hfr_bench

#endif  // HFREDUCE_BENCH_ALLREDUCE_OVERLAP_HPP_
