// What the limit programs share: two ranks, and sums by the project's own kernels, so that what a
// library adds to the limit is everything around the adding.
#ifndef HFREDUCE_BENCH_ALLREDUCE_LIMIT_HPP_
#define HFREDUCE_BENCH_ALLREDUCE_LIMIT_HPP_

#include <cstddef>
#include <stdexcept>
#include <string>

#include "cpu/reduce.hpp"
#include "exchange.hpp"
#include "measure.hpp"

namespace hfr_bench {

class Sum {
 public:
  explicit Sum(Dtype dtype) : dtype_(dtype) {
    auto table = hfr::select_kernel_table("auto");
    if (!table.ok()) throw std::runtime_error(table.status().message());
    hfr::DType type = dtype == Dtype::kFloat32 ? hfr::DType::kFloat32 : hfr::DType::kBFloat16;
    kernel_ = table.value()->reduce[static_cast<int>(type)][static_cast<int>(hfr::Op::kSum)];
  }

  size_t element_bytes() const { return element_size(dtype_); }

  // Every dst becomes a + b, over `bytes`.
  void operator()(void* const* dsts, int num_dsts, const void* a, const void* b, size_t bytes,
                  bool streaming = false) const {
    const void* srcs[] = {a, b};
    hfr::ReduceArgs args;
    args.dsts = dsts;
    args.num_dsts = num_dsts;
    args.srcs = srcs;
    args.num_srcs = 2;
    args.count = bytes / element_size(dtype_);
    args.streaming = streaming;
    kernel_(args);
  }

 private:
  Dtype dtype_;
  hfr::ReduceKernel kernel_;
};

inline Exchange two_ranks() {
  Exchange exchange = Exchange::from_env();
  if (exchange.num_ranks != 2) throw Unsupported("the limits are those of 2 ranks");
  return exchange;
}

}  // namespace hfr_bench

#endif  // HFREDUCE_BENCH_ALLREDUCE_LIMIT_HPP_
