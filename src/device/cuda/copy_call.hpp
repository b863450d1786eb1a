// The driver's call for one copy; none for one of no bytes, as all ranks of a GPU have it for an
// operation of no bytes between nodes.
#pragma once

#include "device/cuda/driver.hpp"
#include "ports/device.hpp"

namespace hfr {

inline CUresult copy_async(const Driver& driver, CopyDirection direction,
                           const CopyDescriptor& copy, CUstream stream) {
  if (copy.bytes == 0) return CUDA_SUCCESS;
  return direction == CopyDirection::kIn
             ? driver.cuMemcpyDtoHAsync(copy.dst, reinterpret_cast<CUdeviceptr>(copy.src),
                                        copy.bytes, stream)
             : driver.cuMemcpyHtoDAsync(reinterpret_cast<CUdeviceptr>(copy.dst), copy.src,
                                        copy.bytes, stream);
}

}  // namespace hfr
