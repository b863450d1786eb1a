// cuda_group_add: the kernel of groups of GPUs (docs/cuda.md), by number of inputs and of blocks,
// and a copy inside the GPU beside it. GB/s count what is read and what is written.
#include <cstdio>
#include <functional>

#include "cuda/group_add.hpp"
#include "device/cuda/group_kernel.hpp"
#include "gpu.hpp"

namespace hfr_bench {
namespace {

constexpr size_t kChunk = size_t{4} << 20;
constexpr int kTimes = 50;

// Microseconds of one, of kTimes in a row.
double measure(const Gpu& gpu, CUstream stream, const std::function<CUresult()>& enqueue) {
  for (int warm : {1, 0}) {
    const double start = now_s();
    for (int i = 0; i < kTimes; ++i) gpu.check(enqueue(), "launch");
    gpu.synchronize(stream);
    if (warm == 0) return (now_s() - start) / kTimes * 1e6;
  }
  return 0;
}

void run() {
  const Gpu gpu;
  CUstream stream = gpu.make_stream();
  auto context = hfr::CudaContext::open(gpu.driver(), nullptr, 0);
  if (!context.ok()) throw std::runtime_error(context.status().message());
  const CUdeviceptr boxes = gpu.allocate(kChunk * hfr::kMaxGroup);
  const CUdeviceptr own = gpu.allocate(kChunk + 16);
  std::printf("# %s, chunks of %zu bytes\n", gpu.name().c_str(), kChunk);
  const double copy = measure(
      gpu, stream, [&] { return gpu.driver().cuMemcpyDtoDAsync(boxes, own, kChunk, stream); });
  std::printf("copy inside the GPU: %.1f us, %.0f GB/s\n", copy, 2e-3 * kChunk / copy);
  std::printf("# %12s %6s %6s %6s %8s %8s\n", "type", "inputs", "blocks", "shift", "us", "GB/s");
  for (hfr::DType dtype : {hfr::DType::kFloat32, hfr::DType::kBFloat16, hfr::DType::kFloat8E4M3}) {
    for (int inputs : {2, 4, 8}) {
      for (int blocks : {4, 8, 16, 32, 64}) {
        for (size_t shift : {0, 4}) {
          if (shift != 0 && blocks != 16) continue;
          auto kernel = hfr::GroupKernel::load(*context, {inputs, 0, kChunk, blocks});
          if (!kernel.ok()) throw std::runtime_error(kernel.status().message());
          hfr::CopyDescriptor what;
          what.src = reinterpret_cast<const void*>(own + shift);
          what.dst = reinterpret_cast<void*>(boxes);
          what.bytes = kChunk;
          what.dtype = dtype;
          const double us = measure(gpu, stream, [&] { return (*kernel)->add(what, stream); });
          std::printf("%14s %6d %6d %6zu %8.1f %8.0f\n", hfr::dtype_name(dtype), inputs, blocks,
                      shift, us, 1e-3 * kChunk * (inputs + 1) / us);
        }
      }
    }
  }
}

}  // namespace
}  // namespace hfr_bench

int main() {
  try {
    hfr_bench::run();
  } catch (const std::exception& error) {
    std::fprintf(stderr, "cuda_group_add: %s\n", error.what());
    return 1;
  }
}
