// The driver's calls for copies and for their counters.
#pragma once

#include <span>

#include "device/cuda/driver.hpp"
#include "ports/device.hpp"

namespace hfr {

constexpr size_t kMostInBatch = 64;

// One copy; none for one of no bytes, as all ranks of a GPU have it for an operation of no bytes
// between nodes.
CUresult copy_async(const Driver& driver, CopyDirection direction, const CopyDescriptor& copy,
                    CUstream stream);

// Up to kMostInBatch copies, in one batch where the driver has them, and then their counters, which
// the device knows `to_device` from where the host does.
CUresult copy_batch(const Driver& driver, CopyDirection direction,
                    std::span<const CopyDescriptor> copies, uint64_t to_device, CUstream stream);

}  // namespace hfr
