// The driver's call for one copy.
#pragma once

#include "device/cuda/driver.hpp"
#include "ports/device.hpp"

namespace hfr {

inline CUresult copy_async(const Driver& driver, CopyDirection direction,
                           const CopyDescriptor& copy, CUstream stream) {
  return direction == CopyDirection::kIn
             ? driver.cuMemcpyDtoHAsync(copy.dst, reinterpret_cast<CUdeviceptr>(copy.src),
                                        copy.bytes, stream)
             : driver.cuMemcpyHtoDAsync(reinterpret_cast<CUdeviceptr>(copy.dst), copy.src,
                                        copy.bytes, stream);
}

}  // namespace hfr
