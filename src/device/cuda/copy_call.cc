#include "device/cuda/copy_call.hpp"

#include <algorithm>
#include <array>

namespace hfr {
namespace {

CUresult copy_all(const Driver& driver, CopyDirection direction,
                  std::span<const CopyDescriptor> copies, CUstream stream) {
#if CUDA_VERSION >= 13000
  // Only copies of an operation of no bytes have none.
  const bool moves = std::all_of(copies.begin(), copies.end(),
                                 [](const CopyDescriptor& copy) { return copy.bytes > 0; });
  if (copies.size() > 1 && moves && driver.cuMemcpyBatchAsync != nullptr) {
    std::array<CUdeviceptr, kMostInBatch> dsts;
    std::array<CUdeviceptr, kMostInBatch> srcs;
    std::array<size_t, kMostInBatch> sizes;
    for (size_t i = 0; i < copies.size(); ++i) {
      dsts[i] = reinterpret_cast<CUdeviceptr>(copies[i].dst);
      srcs[i] = reinterpret_cast<CUdeviceptr>(copies[i].src);
      sizes[i] = copies[i].bytes;
    }
    CUmemcpyAttributes attributes{};
    attributes.srcAccessOrder = CU_MEMCPY_SRC_ACCESS_ORDER_STREAM;
    size_t first = 0;
    return driver.cuMemcpyBatchAsync(dsts.data(), srcs.data(), sizes.data(), copies.size(),
                                     &attributes, &first, 1, stream);
  }
#endif
  CUresult result = CUDA_SUCCESS;
  for (size_t i = 0; i < copies.size() && result == CUDA_SUCCESS; ++i) {
    result = copy_async(driver, direction, copies[i], stream);
  }
  return result;
}

}  // namespace

CUresult copy_async(const Driver& driver, CopyDirection direction, const CopyDescriptor& copy,
                    CUstream stream) {
  if (copy.bytes == 0) return CUDA_SUCCESS;
  return direction == CopyDirection::kIn
             ? driver.cuMemcpyDtoHAsync(copy.dst, reinterpret_cast<CUdeviceptr>(copy.src),
                                        copy.bytes, stream)
             : driver.cuMemcpyHtoDAsync(reinterpret_cast<CUdeviceptr>(copy.dst), copy.src,
                                        copy.bytes, stream);
}

CUresult copy_batch(const Driver& driver, CopyDirection direction,
                    std::span<const CopyDescriptor> copies, uint64_t to_device, CUstream stream) {
  const CUresult result = copy_all(driver, direction, copies, stream);
  if (result != CUDA_SUCCESS) return result;
  std::array<CUstreamBatchMemOpParams, kMostInBatch> writes;
  for (size_t i = 0; i < copies.size(); ++i) {
    writes[i] = {};
    writes[i].writeValue.operation = CU_STREAM_MEM_OP_WRITE_VALUE_64;
    writes[i].writeValue.address = reinterpret_cast<uint64_t>(&copies[i].signal->value) + to_device;
    writes[i].writeValue.value64 = copies[i].signal_value;
    writes[i].writeValue.flags = CU_STREAM_WRITE_VALUE_DEFAULT;
  }
  return driver.cuStreamBatchMemOp(stream, static_cast<unsigned>(copies.size()), writes.data(), 0);
}

}  // namespace hfr
